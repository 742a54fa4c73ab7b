"""A run as a notebook shows it: how it stands, where it lies, its last values and small charts."""

from __future__ import annotations

import os
from html import escape
from typing import TYPE_CHECKING

from codex_obs import _backend, _drawing
from codex_obs._moments import duration_text
from codex_obs._series import Series
from codex_obs._visible import visible

if TYPE_CHECKING:
    from pathlib import Path

    from codex_obs._backend import RunState

# Reading so much takes a moment; of more only the state is shown.
_MOST_BYTES = 512 << 20
_MOST_CURVES = 24
_WIDTH, _HEIGHT = 180, 32


def to_html(path: Path, name: str) -> str:
    """Draw a run directory as a piece of HTML. Every text in it is escaped.

    Args:
        path: The run directory.
        name: What the run is called.

    Raises:
        CodexObsError, OSError: If it cannot be read.
    """
    state = _backend.run_state(os.fspath(path))
    place = escape(visible(str(path)))
    head = f"<b>{escape(visible(name))}</b> {escape(_status(state))}<br><code>{place}</code>"
    size = sum(file.stat().st_size for file in path.glob("metrics*.ndjson*"))
    if size > _MOST_BYTES:
        shown = f"<br>{size / 1e9:.1f} GB of rows: <code>codex-obs view {place}</code> shows them."
        return f"<div>{head}{shown}</div>"
    return f"<div>{head}{_table(path)}</div>"


def _status(state: RunState | None) -> str:
    if state is None or state.first_session is None or state.last_session is None:
        return "no session"
    first, last = state.first_session, state.last_session
    if state.is_live:
        return "running"
    status = last.status or "crashed"
    if last.ended_micros is None:
        return status
    return f"{status} after {duration_text(max(last.ended_micros - first.started_micros, 0) / 1e6)}"


def _table(path: Path) -> str:
    series = Series(path)
    series.refresh()
    curves = [curve for curve in series.names() if curve.kind == "number"]
    shown = [curve.key for curve in curves[:_MOST_CURVES]]
    lines = []
    for key, name in zip(shown, _drawing.labels(shown), strict=True):
        pixels = series.pixels([key], pixels=_WIDTH)[key]
        pixels = pixels if pixels.rows else series.pixels([key], axis="time", pixels=_WIDTH)[key]
        last = pixels.last[-1] if pixels.last else None
        lines.append(
            f"<tr><td>{escape(name)}</td>"
            f"<td>{'' if last is None else f'{last:.5g}'}</td>"
            f"<td>{_drawing.svg(pixels, _WIDTH, _HEIGHT)}</td></tr>"
        )
    more = f"<tr><td>and {len(curves) - len(shown)} more</td></tr>" if len(curves) > len(shown) else ""
    return f"<table><tr><th>metric</th><th>last</th><th></th></tr>{''.join(lines)}{more}</table>" if lines else ""
