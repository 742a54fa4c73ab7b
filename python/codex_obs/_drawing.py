"""Curves drawn small: as a line of blocks for a terminal, as a picture for a notebook; and what a curve is called."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_obs._series import Key, Pixels

MAIN_STREAM = "main"
_BLOCKS = "▁▂▃▄▅▆▇█"


class Points(NamedTuple):
    """What a chart connects, in order: each pixel's first value, its extremes and its last value."""

    xs: list[float]
    ys: list[float]


def labels(keys: Sequence[Key]) -> list[str]:
    """Name curves ``split/metric``, with the stream if it is not the main one. Control characters are escaped.

    Dataset and run stand behind a name that several have.
    """
    names = []
    for key in keys:
        name = f"{key.split}/{key.metric}" if key.split else key.metric
        names.append(f"{key.stream}: {name}" if key.stream not in ("", MAIN_STREAM) else name)
    counts = Counter(names)
    for place, key in enumerate(keys):
        if counts[names[place]] > 1:
            names[place] += "".join(f" [{text}]" for text in (key.dataset, key.run_id) if text)
    return [visible(name) for name in names]


def points(pixels: Pixels) -> Points:
    """Give the points of a curve; values that are not finite have none."""
    xs: list[float] = []
    ys: list[float] = []
    columns = zip(pixels.first_x, pixels.last_x, pixels.first, pixels.minimum, pixels.maximum, pixels.last, strict=True)
    for first_x, last_x, *values in columns:
        middle = (first_x + last_x) / 2
        for x, y in zip((first_x, middle, middle, last_x), values, strict=True):
            if y is not None:
                xs.append(x)
                ys.append(y)
    return Points(xs, ys)


def sparkline(pixels: Pixels, width: int) -> str:
    """Draw a curve as a line of blocks, a character a pixel: its last value, a space where that is not finite.

    A pixel without a row shows what the one before shows.
    """
    line = ["" for _ in range(width)]
    known = [value for value in pixels.last if value is not None]
    low, high = min(known, default=0.0), max(known, default=0.0)
    for place, value in zip(pixels.place, pixels.last, strict=True):
        line[place] = " "
        if value is not None:
            # Halves, because the difference of two numbers may be no number.
            share = (value / 2 - low / 2) / (high / 2 - low / 2) if high > low else 0.5
            line[place] = _BLOCKS[min(int(share * len(_BLOCKS)), len(_BLOCKS) - 1)]
    drawn = " "
    for block in line:
        drawn += block or drawn[-1]
    return drawn[1:].rstrip()


def svg(pixels: Pixels, width: int, height: int) -> str:
    """Draw a curve as an SVG picture in the colour of the text around it."""
    xs, ys = points(pixels)
    path = ""
    if xs:
        left, low = xs[0], min(ys)
        across, up = (xs[-1] - left) or 1.0, (max(ys) / 2 - low / 2) or 1.0
        places = (
            f"{1 + (width - 2) * (x - left) / across:.1f},{height - 1 - (height - 2) * (y / 2 - low / 2) / up:.1f}"
            for x, y in zip(xs, ys, strict=True)
        )
        path = f'<polyline points="{" ".join(places)}" fill="none" stroke="currentColor"/>'
    return f'<svg width="{width}" height="{height}" role="img">{path}</svg>'
