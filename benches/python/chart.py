"""A small line chart as SVG: one panel a series, a linear axis upwards that is shared by a line of panels."""

from __future__ import annotations

import math
from typing import TypeAlias

# Points from left to right.
Series: TypeAlias = list[tuple[float, float]]

_PANEL_WIDTH, _HEIGHT = 240, 200
_PANELS_A_LINE = 3
_LEFT, _RIGHT, _TOP, _BOTTOM = 44, 16, 24, 40
# Readable on light and on dark pages.
_LINE, _INK = "#2f81f7", "#7d8590"


def draw(series: dict[str, Series], *, ylabel: str, marks: dict[str, Series] | None = None) -> str:
    """Draw the panels, three in a line.

    Args:
        series: Points by the name of what grows.
        ylabel: What is measured.
        marks: Points beside the lines, by the same names. The axis across is linear then; else it is logarithmic, and
            each point of a line is marked.

    Returns:
        An SVG document.
    """
    panels = []
    every = list(series.items())
    for line, start in enumerate(range(0, len(every), _PANELS_A_LINE)):
        named = every[start : start + _PANELS_A_LINE]
        dots = {name: points if marks is None else marks[name] for name, points in named}
        top = _round_up(max(y for name, points in named for _, y in points + dots[name]))
        for index, (name, points) in enumerate(named):
            panel = _panel(name, points, dots[name], top, is_linear=marks is not None)
            panels.append(f'<g transform="translate({index * _PANEL_WIDTH} {line * _HEIGHT})">{panel}</g>')
    width = min(len(series), _PANELS_A_LINE) * _PANEL_WIDTH
    height = -(-len(series) // _PANELS_A_LINE) * _HEIGHT
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="10" fill="{_INK}">\n'
        f"<title>{ylabel} by {', '.join(series)}</title>\n"
        f'<text x="4" y="12">{ylabel}</text>\n' + "\n".join(panels) + "\n</svg>\n"
    )


def _panel(name: str, points: Series, dots: Series, top: float, *, is_linear: bool) -> str:
    def along(x: float) -> float:
        return x if is_linear else math.log10(x)

    low, high = along(points[0][0]), along(points[-1][0])
    across = _PANEL_WIDTH - _LEFT - _RIGHT
    upwards = _HEIGHT - _TOP - _BOTTOM

    def places(points: Series) -> Series:
        return [(_LEFT + across * (along(x) - low) / (high - low), _TOP + upwards * (1 - y / top)) for x, y in points]

    place = places(points)
    parts = []
    for quarter in range(5):
        y = _TOP + upwards * (1 - quarter / 4)
        parts += [
            f'<path d="M{_LEFT} {y:.1f}h{across}" stroke="{_INK}" stroke-opacity="0.3"/>',
            f'<text x="{_LEFT - 4}" y="{y + 3:.1f}" text-anchor="end">{top * quarter / 4:g}</text>',
        ]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in place)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{_LINE}" stroke-width="2"/>')
    parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{_LINE}"/>' for x, y in places(dots)]
    for (x, _), anchor, (value, _) in zip(
        (place[0], place[-1]), ("start", "end"), (points[0], points[-1]), strict=True
    ):
        parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 14}" text-anchor="{anchor}">{value:,.0f}</text>')
    parts.append(f'<text x="{_LEFT + across / 2}" y="{_HEIGHT - 8}" text-anchor="middle">{name}</text>')
    return "".join(parts)


def _round_up(value: float) -> float:
    """Give the next of 1, 2, 4, 6, 8 times a power of ten, which four lines divide well."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 4, 6, 8, 10) if step * power >= value)
