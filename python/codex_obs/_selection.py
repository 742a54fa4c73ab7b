"""Which runs of a folder are shown, and in what order: conditions such as ``lr<=0.1`` and keys to sort by."""

from __future__ import annotations

import operator
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    Row = Mapping[str, object]

_CONDITION = re.compile(r"(?P<key>.+?)(?P<operator>!=|<=|>=|=|<|>|~)(?P<value>.*)", re.DOTALL)
_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_METRIC_KEY = re.compile(r"(?P<metric>.+)\.(last|min|max)(_step)?", re.DOTALL)
_MISSING = ("", "null", "none")


def value_of(row: Row, key: str) -> object:
    """Give what a run has under a key: a column, or a parameter (``config.optimizer.lr``, short ``optimizer.lr``)."""
    if key in row:
        return row[key]
    config = row["config"]
    found = _inner(config, key)
    return _inner(config, key.removeprefix("config.")) if found is None else found


def _inner(value: object, path: str) -> object:
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    # A key may have a dot in it.
    for match in re.finditer(r"\.", path):
        if isinstance(value.get(path[: match.start()]), dict):
            found = _inner(value[path[: match.start()]], path[match.end() :])
            if found is not None:
                return found
    return None


class SelectionError(CodexObsError):
    """A condition or a key that no run can be chosen by; the text is one sentence for the user."""


@dataclass(frozen=True)
class Condition:
    """What a run has to fulfil to be shown."""

    text: str
    key: str
    operator: str
    value: str

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read a condition.

        Raises:
            SelectionError: If it is none.
        """
        match = _CONDITION.fullmatch(text)
        if match is None:
            raise SelectionError(
                f"{text} is no condition: give KEY=VALUE, with =, !=, <, <=, >, >= or ~ (contains), such as "
                '--where "lr<=0.1".'
            )
        return cls(text, match["key"].strip(), match["operator"], match["value"].strip())

    def holds(self, found: object) -> bool:
        """Give whether it holds for what a run has under its key."""
        if self.operator == "~":
            return found is not None and self.value.casefold() in _as_text(found).casefold()
        if found is None:
            is_asked = self.value.casefold() in _MISSING
            return is_asked if self.operator == "=" else not is_asked if self.operator == "!=" else False
        compare = _COMPARE[self.operator]
        if isinstance(found, (int, float)) and not isinstance(found, bool):
            try:
                return compare(found, float(self.value))
            except ValueError:
                # A text is not less or more than a number; it only differs.
                return self.operator == "!="
        if isinstance(found, bool):
            return compare(str(found).casefold(), self.value.casefold()) if self.operator in ("=", "!=") else False
        return compare(_as_text(found), self.value)


def metrics_in(keys: Iterable[str]) -> list[str]:
    """Give the metrics that keys such as ``loss.min`` ask for."""
    matches = (_METRIC_KEY.fullmatch(key) for key in keys)
    return [match["metric"] for match in matches if match and not match["metric"].startswith("config.")]


def select(
    rows: Sequence[Row], conditions: Sequence[Condition], sort: str | None, *, reverse: bool, limit: int | None
) -> list[Row]:
    """Choose rows and put them in order; a row without the key to sort by comes last.

    Raises:
        SelectionError: If no row has a key that is named.
    """
    for key in [condition.key for condition in conditions] + ([sort] if sort else []):
        if rows and all(value_of(row, key) is None for row in rows) and not any(key in row for row in rows):
            raise SelectionError(
                f"No run has {key}: name a column ({', '.join(list(rows[0])[:8])}), a parameter or METRIC.min."
            )
    chosen = [row for row in rows if all(condition.holds(value_of(row, condition.key)) for condition in conditions)]
    if sort:
        keyed = [(value_of(row, sort), row) for row in chosen]
        known = [(value, row) for value, row in keyed if value is not None]
        known.sort(key=lambda pair: _order(pair[0]), reverse=reverse)
        chosen = [row for _, row in known] + [row for value, row in keyed if value is None]
    elif reverse:
        chosen.reverse()
    return chosen if limit is None else chosen[:limit]


def _order(value: object) -> tuple[int, float, str]:
    """Numbers before texts, so that a column with both has an order."""
    return (0, float(value), "") if isinstance(value, (int, float)) else (1, 0.0, _as_text(value))


def _as_text(value: object) -> str:
    if isinstance(value, str):
        return value
    import json  # noqa: PLC0415 - rarely needed

    return json.dumps(value, separators=(",", ":"))
