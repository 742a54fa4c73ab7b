"""Kinds of settings: what a value may be, as the text of an environment variable and as an argument.

A kind answers with the value in the form that the engine takes, or raises `Rejected` with what would be right.
"""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, SupportsFloat, SupportsIndex

# The engine counts in 64 bits. A limit beyond that is unreachable, so it is cut to it.
MAX_INTEGER = 2**63 - 1
# The engine counts ages and waits in microseconds in 64 bits: 292,000 years.
MAX_SECONDS = float(MAX_INTEGER // 1_000_000)
# The shortest time that the engine can tell from none.
MIN_SECONDS = 1e-6

_ASCII_SPACE = " \t\n\r\v\f"
_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_WORD_MARKS = str.maketrans("", "", "-_.")
# An integer with more digits than this is larger than any bound here; Python refuses to parse one with thousands.
_MANY_DIGITS = 20


class Rejected(Exception):  # noqa: N818 - not an error for users: it becomes a SettingError that names its origin
    """A value cannot be used; the text says what can."""


class Kind(Protocol):
    """What a setting accepts."""

    def from_text(self, text: str) -> object:
        """Read the value of an environment variable."""

    def from_value(self, value: object) -> object:
        """Check an argument."""


def trimmed(text: str) -> str:
    """Drop ASCII space around a text."""
    return text.strip(_ASCII_SPACE)


def is_one_word(text: str) -> bool:
    """Return whether a text has characters that can be shown, and no space."""
    return text.isprintable() and not any(character.isspace() for character in text)


@dataclass(frozen=True)
class Limit:
    """A limit of rotation: a number, or None if the rule is off (empty, 0, ``None``, negative)."""

    remedy: str
    fractional: bool = False
    all_allowed: bool = False

    def from_text(self, text: str) -> object:
        """Read digits with an optional sign, or a spelling of off."""
        word = trimmed(text)
        if word == "" or word.lower() == "none":
            return None
        if self.all_allowed and word.lower() == "all":
            return "all"
        number = _decimal(word) if self.fractional else _integer(word)
        if number is None:
            raise Rejected(self.remedy)
        return self._bounded(number)

    def from_value(self, value: object) -> object:
        """Check a number, None, or ``"all"``."""
        if value is None or (self.all_allowed and isinstance(value, str) and value == "all"):
            return value
        number = _as_float(value) if self.fractional else _as_int(value)
        if number is None:
            raise Rejected(self.remedy)
        return self._bounded(number)

    def _bounded(self, number: float) -> float | None:
        if number <= 0:
            return None
        if self.fractional:
            return min(max(float(number), MIN_SECONDS), MAX_SECONDS)
        return min(number, MAX_INTEGER)


@dataclass(frozen=True)
class Integer:
    """A whole number within bounds; None and an empty text mean that it is not set."""

    remedy: str
    low: int = 0
    high: int = MAX_INTEGER

    def from_text(self, text: str) -> object:
        """Read digits with an optional sign."""
        return self._checked(_integer(trimmed(text)))

    def from_value(self, value: object) -> object:
        """Check anything with ``__index__`` that is no bool."""
        return self._checked(_as_int(value))

    def _checked(self, number: int | None) -> int:
        if number is None or not self.low <= number <= self.high:
            raise Rejected(self.remedy)
        return number


@dataclass(frozen=True)
class Seconds:
    """A time in seconds that is not negative; what is longer than the engine can count is cut to that."""

    remedy: str
    zero_allowed: bool = True
    low: float = 0.0

    def from_text(self, text: str) -> object:
        """Read digits with an optional sign and a decimal point."""
        return self._checked(_decimal(trimmed(text)))

    def from_value(self, value: object) -> object:
        """Check a number."""
        return self._checked(_as_float(value))

    def _checked(self, number: float | None) -> float:
        if number is None or number < self.low or (number == 0 and not self.zero_allowed):
            raise Rejected(self.remedy)
        return 0.0 if number == 0 else min(max(number, MIN_SECONDS), MAX_SECONDS)


@dataclass(frozen=True)
class Choice:
    """One of a few words; any case in the environment."""

    words: tuple[str, ...]

    def from_text(self, text: str) -> object:
        """Read one of the words."""
        return self.from_value(trimmed(text).lower())

    def from_value(self, value: object) -> object:
        """Check one of the words."""
        if not isinstance(value, str) or value not in self.words:
            raise Rejected(f"give {' or '.join(repr(word) for word in self.words)}")
        return value


@dataclass(frozen=True)
class Flag:
    """True or false."""

    # The variables of the old format have always taken every word but the four for off.
    lenient: bool = False

    def from_text(self, text: str) -> object:
        """Read 1, true, yes, on or their opposites, in any case."""
        word = trimmed(text).lower()
        if not self.lenient and word not in _TRUE | _FALSE:
            raise Rejected("give 1, true, yes or on, or 0, false, no or off")
        return word in _TRUE

    def from_value(self, value: object) -> object:
        """Check a bool."""
        if not isinstance(value, bool):
            raise Rejected("give True or False")
        return value


class Deferral:
    """True, false, or ``"cuda"``: which values are waited for while training goes on."""

    _REMEDY = "give 1 or 0, or cuda"

    def from_text(self, text: str) -> object:
        """Read 1, true, yes, on or their opposites, or cuda, in any case."""
        word = trimmed(text).lower()
        if word not in _TRUE | _FALSE | {"cuda"}:
            raise Rejected(self._REMEDY)
        return word if word == "cuda" else word in _TRUE

    def from_value(self, value: object) -> object:
        """Check a bool, or the one word."""
        if not isinstance(value, bool) and value != "cuda":
            raise Rejected("give True, False or 'cuda'")
        return value


class Folder:
    """True, false, or a folder that is to be used instead of the usual one."""

    _REMEDY = "give True, False or a folder"

    def from_text(self, text: str) -> object:
        """Read 1, true, yes, on or their opposites, in any case; anything else is a folder."""
        word = trimmed(text)
        if word.lower() in _TRUE | _FALSE:
            return word.lower() in _TRUE
        return self._folder(text)

    def from_value(self, value: object) -> object:
        """Check a bool or a path."""
        if isinstance(value, bool):
            return value
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if not isinstance(path, str) or not path:
            raise Rejected(self._REMEDY)
        return self._folder(path)

    def _folder(self, path: str) -> str:
        if "\0" in path:
            raise Rejected(self._REMEDY)
        return os.path.expanduser(path)  # noqa: PTH111 - pathlib takes milliseconds of the import


class SampleFile:
    """Off (None), ``auto``, or the file for the machine's samples, which is made absolute."""

    _REMEDY = "give 'auto', a file, or False for none"

    def from_text(self, text: str) -> object:
        """Read ``auto`` or 1, true, yes, on; their opposites; anything else is a file."""
        word = trimmed(text).lower()
        if word in _FALSE | {"none", "off"}:
            return None
        return "auto" if word in _TRUE | {"auto"} else self._absolute(text)

    def from_value(self, value: object) -> object:
        """Check None, a bool, ``"auto"`` or a path."""
        if value is None or isinstance(value, bool):
            return "auto" if value else None
        path = os.fspath(value) if isinstance(value, str | os.PathLike) else None
        if not isinstance(path, str) or not trimmed(path):
            raise Rejected(self._REMEDY)
        return "auto" if path.lower() == "auto" else self._absolute(path)

    def _absolute(self, path: str) -> str:
        if "\0" in path:
            raise Rejected(self._REMEDY)
        return os.path.abspath(os.path.expanduser(path))  # noqa: PTH100, PTH111 - pathlib takes milliseconds of the import


class Address:
    """The address of a server, which may hold a password; an empty one is none at all."""

    _REMEDY = "give an address such as http://127.0.0.1:5000 or https://mlflow.example.org"

    def from_text(self, text: str) -> object:
        """Check an address; the engine reads it."""
        word = trimmed(text)
        if not word:
            return None
        scheme, separator, rest = word.partition("://")
        if scheme.lower() not in ("http", "https") or not separator or not rest or not is_one_word(word):
            raise Rejected(self._REMEDY)
        # Both may be secret, and what is refused here is not kept.
        if "?" in rest or "#" in rest:
            raise Rejected("give it without ? and #, which are %3F and %23 in a password")
        if "@" in rest.partition("/")[2]:
            raise Rejected("write a / in a password as %2F, and an @ as %40")
        return word

    def from_value(self, value: object) -> object:
        """Check an address, or None."""
        if value is None:
            return None
        if not isinstance(value, str):
            raise Rejected(self._REMEDY)
        return self.from_text(value)


@dataclass(frozen=True)
class Identifier:
    """What a server calls something: ASCII letters, digits, ``-`` and ``_``."""

    remedy: str
    _MAX_LENGTH = 256

    def from_text(self, text: str) -> object:
        """Check an identifier."""
        word = trimmed(text)
        plain = word.replace("-", "").replace("_", "")
        if not (plain.isascii() and plain.isalnum()) or len(word) > self._MAX_LENGTH:
            raise Rejected(self.remedy)
        return word

    def from_value(self, value: object) -> object:
        """Check an identifier, which may be a number."""
        if isinstance(value, str):
            return self.from_text(value)
        number = _as_int(value)
        if number is None or number < 0:
            raise Rejected(self.remedy)
        return self.from_text(str(number))


@dataclass(frozen=True)
class Title:
    """What people call something at a server; None and an empty text mean that it is not set."""

    remedy: str
    _MAX_LENGTH = 500

    def from_text(self, text: str) -> object:
        """Check a name."""
        if not text.isprintable() or not trimmed(text) or len(text) > self._MAX_LENGTH:
            raise Rejected(self.remedy)
        return text

    def from_value(self, value: object) -> object:
        """Check a name."""
        if not isinstance(value, str):
            raise Rejected(self.remedy)
        return self.from_text(value)


@dataclass(frozen=True)
class Words:
    """Several names: ASCII letters, digits, ``-``, ``_`` and ``.``; each once."""

    remedy: str
    _MAX_LENGTH = 256

    def from_text(self, text: str) -> object:
        """Read names that are separated by commas."""
        return self.from_value([word for word in map(trimmed, text.split(",")) if word])

    def from_value(self, value: object) -> object:
        """Check several names, which are no text."""
        if isinstance(value, str) or not isinstance(value, Iterable):
            raise Rejected(self.remedy)
        words = tuple(dict.fromkeys(value))
        for word in words:
            plain = isinstance(word, str) and word.translate(_WORD_MARKS)
            if not (plain and plain.isascii() and plain.isalnum() and len(word) <= self._MAX_LENGTH):
                raise Rejected(self.remedy)
        return words


class FileMode:
    """Permissions of files; the owner must be able to read and write them."""

    _OWNER = 0o600
    _MAX = 0o777

    def from_text(self, text: str) -> object:
        """Read octal digits, with or without ``0o``."""
        word = trimmed(text).lower().removeprefix("0o")
        if not word or len(word) > _MANY_DIGITS or any(digit not in "01234567" for digit in word):
            raise Rejected("give octal digits such as 640")
        return self._checked(int(word, 8), "600 such as 640")

    def from_value(self, value: object) -> object:
        """Check an integer."""
        number = _as_int(value)
        if number is None:
            raise Rejected("give an integer such as 0o640")
        return self._checked(number, "0o600 such as 0o640")

    def _checked(self, mode: int, remedy: str) -> int:
        if mode & self._OWNER != self._OWNER or not 0 <= mode <= self._MAX:
            raise Rejected(f"give permission bits that contain {remedy}")
        return mode


def _split_sign(word: str) -> tuple[int, str]:
    if word[:1] in ("+", "-"):
        return (-1 if word[0] == "-" else 1), word[1:]
    return 1, word


def _is_digits(text: str) -> bool:
    # str.isdigit alone takes digits of every script.
    return text.isascii() and text.isdigit()


def _integer(word: str) -> int | None:
    sign, digits = _split_sign(word)
    if not _is_digits(digits):
        return None
    digits = digits.lstrip("0") or "0"
    return sign * (int(digits) if len(digits) < _MANY_DIGITS else 10**_MANY_DIGITS)


def _decimal(word: str) -> float | None:
    sign, digits = _split_sign(word)
    if not _is_digits(digits.replace(".", "", 1)):
        return None
    return sign * float(digits)


def _is_bool(value: object) -> bool:
    # NumPy's bool has an index in older releases.
    return type(value).__name__ in ("bool", "bool_")


def _as_int(value: object) -> int | None:
    if _is_bool(value) or not isinstance(value, SupportsIndex):
        return None
    try:
        return operator.index(value)
    except TypeError:  # an array with more than one element has an index that raises
        return None


def _as_float(value: object) -> float | None:
    if _is_bool(value) or not isinstance(value, SupportsFloat | SupportsIndex):
        return None
    try:
        number = float(value)
    except OverflowError:
        index = _as_int(value)
        return None if index is None else math.inf if index > 0 else -math.inf
    except (TypeError, ValueError):
        return None
    return None if math.isnan(number) else number
