"""The rank that the variables of launchers give."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._settings.kinds import Integer, Rejected
from codex_obs._settings.variables import (
    ADDRESS_VARIABLE,
    LOCAL_RANK_VARIABLE,
    LOCAL_SIZE_VARIABLES,
    NODE_RANK_VARIABLES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def local_rank(environ: Mapping[str, str]) -> tuple[int | None, bool]:
    """Make a rank of the one among the processes of a host, and say whether it has one that cannot be determined."""
    local = _count(LOCAL_RANK_VARIABLE, environ)
    node = first_count(NODE_RANK_VARIABLES, environ)
    if local is None:
        # The first process of another node than the first, as Lightning's launcher leaves it.
        return None, bool(node) and ADDRESS_VARIABLE in environ
    if not node:
        return local, False
    local_size = first_count(LOCAL_SIZE_VARIABLES[:1], environ, low=1)
    if local_size is None:
        return None, True
    return node * local_size + local, False


def first_count(names: Sequence[str], environ: Mapping[str, str], *, low: int = 0) -> int | None:
    """Return the first of several variables that is a whole number. Launchers' other words are no error."""
    return next((count for name in names if (count := _count(name, environ, low=low)) is not None), None)


def _count(name: str, environ: Mapping[str, str], *, low: int = 0) -> int | None:
    try:
        number = Integer("", low=low).from_text(environ.get(name, ""))
    except Rejected:
        return None
    return number if isinstance(number, int) else None
