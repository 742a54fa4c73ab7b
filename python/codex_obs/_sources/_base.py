"""What every source gives: the facts of a run, and its values piece by piece."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path
    from typing import BinaryIO

    from codex_obs.types import Status


class SourceError(Exception):
    """A source cannot be read; the text is one sentence for the user."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of a run before its values are read.

    Attributes:
        name: What the tool calls it, if it has a name.
        run_id: Its identity there, which it keeps; None for a new one.
        params: Parameters.
        tags: Tags.
        started_s: When it began, in seconds since the epoch.
        origin: Where it comes from, in the tool's own terms.
    """

    name: str | None = None
    run_id: str | None = None
    params: Mapping[str, object] = field(default_factory=dict)
    tags: Mapping[str, object] = field(default_factory=dict)
    started_s: float | None = None
    origin: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Point:
    """Values of one moment.

    Attributes:
        values: Values by the names that the tool gives them.
        step: Their step; None counts on.
        time_s: When they were logged, in seconds since the epoch; None where the source does not say.
        split: The split of names that tell none.
    """

    values: Mapping[str, object]
    step: int | None = None
    time_s: float | None = None
    split: str = "train"


@dataclass(frozen=True, slots=True)
class Params:
    """Parameters that the source gives amid its values."""

    values: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the run ended, and when."""

    status: Status
    time_s: float | None = None


Piece = Point | Params | Ended


@dataclass
class Account:
    """What was read so far.

    Attributes:
        left: What rows have no place for, by what it is.
        damaged: What could not be read, by what it is.
        tell: Called now and then with the bytes read, and all of them; 0 of 0 where that is unknown.
    """

    left: Counter[str] = field(default_factory=Counter)
    damaged: Counter[str] = field(default_factory=Counter)
    tell: Callable[[int, int], None] = lambda _done, _total: None


class Source(Protocol):
    """One run of another tool."""

    @property
    def label(self) -> str:
        """What its folder is called where a source has several runs."""

    @property
    def run_id(self) -> str | None:
        """Its identity there; None where the tool gives none."""

    @property
    def has_folders(self) -> bool:
        """Whether everything before the first ``/`` of a name is a split, as this package names metrics elsewhere."""

    def facts(self) -> Facts:
        """Give what is known before the values are read.

        Raises:
            SourceError: If it cannot be read.
        """

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give the values in the order of the source.

        Raises:
            SourceError: If it cannot be read.
        """


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """Open a file to be read.

    Raises:
        SourceError: If it cannot be opened or read.
    """
    try:
        with path.open("rb") as file:
            yield file
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror}.") from error
