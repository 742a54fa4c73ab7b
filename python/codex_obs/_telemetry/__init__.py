"""The core of telemetry: spans, events, who hears of them. `codex_obs.telemetry` is the public module."""
