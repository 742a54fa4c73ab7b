"""What people say to a model and what it answers: kept out of everything unless it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Keys whose values are content, wherever they stand.
KEYS = frozenset(
    {
        "input",
        "arguments",
        "output",
        "diff",
        "exception.message",
        "exception.stacktrace",
        "gen_ai.input.messages",
        "gen_ai.output.messages",
        "gen_ai.system_instructions",
        "gen_ai.tool.call.arguments",
        "gen_ai.tool.call.result",
        "mlflow.spanInputs",
        "mlflow.spanOutputs",
    }
)
_PLAIN = frozenset({str, int, float, bool, type(None)})
_DEEPEST = 64  # what is deeper is null in a line


def without(members: Mapping[str, object]) -> dict[str, object]:
    """Return the members that are no content, at every depth."""
    # Most are plain, and none is content.
    if KEYS.isdisjoint(members) and all(type(value) in _PLAIN for value in members.values()):
        return dict(members)
    return {key: _inside(value, 1) for key, value in members.items() if key not in KEYS}


def _inside(value: object, depth: int) -> object:
    if depth > _DEEPEST:
        return None
    if isinstance(value, dict):
        return {key: _inside(inner, depth + 1) for key, inner in value.items() if key not in KEYS}
    if isinstance(value, (list, tuple)):
        return [_inside(inner, depth + 1) for inner in value]
    return value
