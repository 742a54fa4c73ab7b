"""Telemetry of agents and trainers: spans and events, which go through the journal like rows.

```python
from codex_obs import telemetry

with telemetry.thread("t-1", workflow="triage"):
    with telemetry.turn(model="m"):
        with telemetry.tool("shell", call_id="c-1") as tool:
            tool.set(exit_code=0)
        telemetry.emit("thread.token_usage.updated", {"input_tokens": 12, "output_tokens": 3})
```

Every line is in ``telemetry.ndjson`` of the current run. What was said to a model and what it answered is kept only if
content is captured (`configure`).
"""

from codex_obs._telemetry.spans import Span
from codex_obs.telemetry._configure import Configuration, configure
from codex_obs.telemetry._events import attach, attach_default_logger, attach_many, detach, emit
from codex_obs.telemetry._reading import read
from codex_obs.telemetry._spans import approval, current_span, span, thread, tool, traceparent, turn
from codex_obs.telemetry._staging import cleanup, force_cleanup, stage, staging_dir
from codex_obs.telemetry._timing import count, track_time

__all__ = [
    "Configuration",
    "Span",
    "approval",
    "attach",
    "attach_default_logger",
    "attach_many",
    "cleanup",
    "configure",
    "count",
    "current_span",
    "detach",
    "emit",
    "force_cleanup",
    "read",
    "span",
    "stage",
    "staging_dir",
    "thread",
    "tool",
    "traceparent",
    "track_time",
    "turn",
]
