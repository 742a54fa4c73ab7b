"""What a table says of a setting, and what is said of a variable."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from codex_obs._settings.kinds import Kind


@dataclass(frozen=True, slots=True)
class Entry:
    """A setting: where it comes from, what it may be, what it is otherwise."""

    variables: tuple[str, ...]
    kind: Kind
    default: object
    meaning: str
    # What an empty variable means: not set, or a value of its own.
    empty_is_value: bool = False
    # A negative number in a launcher's variable means that there are no ranks.
    negative_is_unset: bool = False
    default_text: str = ""
    # Errors do not repeat the value; of an address, a user name and password are neither shown nor pickled.
    is_secret: bool = False
    # Another setting that says the same in another way: with either as an argument, the environment counts for neither.
    twin: str = ""


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable that codex_obs reads.

    Attributes:
        name: Name of the variable.
        default: What holds without it, as text.
        meaning: What it is for and what it may be.
        setting: The field of `Settings` that it sets, if it sets one.
    """

    name: str
    default: str
    meaning: str
    setting: str | None = None
