"""The one table of what facts of agents are called as attributes of spans.

``codex.…`` is ours; beside it stand the names of OpenTelemetry's semantic conventions for generative AI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What everything inside inherits.
INHERITED: Mapping[str, tuple[str, ...]] = {
    "thread_id": ("codex.thread.id", "gen_ai.conversation.id"),
    "turn_id": ("codex.turn.id",),
    "originator": ("codex.originator",),
    "source": ("codex.source",),
    "workflow": ("codex.workflow",),
    "group": ("codex.group",),
}
# What one span has for itself, by what it is of.
OWN: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "thread": {"result": ("codex.thread.result",), "early_exit": ("codex.thread.early_exit",)},
    "turn": {"model": ("gen_ai.request.model",), "agent": ("gen_ai.agent.name",)},
    "tool": {"tool": ("gen_ai.tool.name",), "call_id": ("gen_ai.tool.call.id",)},
    "mcp.tool_call": {
        "tool": ("gen_ai.tool.name",),
        "call_id": ("gen_ai.tool.call.id",),
        "server": ("codex.mcp.server",),
    },
    "approval": {
        "tool": ("gen_ai.tool.name",),
        "call_id": ("gen_ai.tool.call.id",),
        "reason": ("codex.approval.reason",),
    },
    "span": {},
}
OPERATION: Mapping[str, str] = {"turn": "invoke_agent", "tool": "execute_tool", "mcp.tool_call": "execute_tool"}
OPERATION_NAME = "gen_ai.operation.name"
DURATION = "codex.duration_ms"
ERROR_TYPE = "error.type"
# Content, if it is captured.
CONTENT: Mapping[str, tuple[str, ...]] = {
    "input": ("codex.input",),
    "arguments": ("gen_ai.tool.call.arguments",),
    "output": ("codex.output",),
}
TOOL_OUTPUT = "gen_ai.tool.call.result"
# Counts of tokens in the measurements of `thread.token_usage.updated`.
USAGE: Mapping[str, str] = {
    "input_tokens": "gen_ai.usage.input_tokens",
    "output_tokens": "gen_ai.usage.output_tokens",
    "cached_input_tokens": "gen_ai.usage.cache_read.input_tokens",
}


def named(table: Mapping[str, tuple[str, ...]], facts: Mapping[str, object]) -> dict[str, object]:
    """Return the facts that a table knows under their names as attributes."""
    return {name: facts[key] for key, names in table.items() if facts.get(key) is not None for name in names}
