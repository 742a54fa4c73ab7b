"""How a session begins: as which rank, in which job, and whether it goes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Beginning:
    """What `init` found out before it opened a session.

    Attributes:
        job: The key of its job, for the start record.
        is_rank_unknown: Whether the process has a rank that cannot be determined: it writes its own stream.
        size: The number of ranks, or None if that is unknown.
        is_bare: Whether neither a directory nor a name was given.
        rewind_to: Rows of earlier sessions from this step on are superseded; None keeps them.
    """

    job: Mapping[str, object] | None = None
    is_rank_unknown: bool = False
    size: int | None = None
    is_bare: bool = False
    rewind_to: int | None = None
