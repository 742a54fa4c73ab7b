"""A run as a notebook shows it."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import codex_obs
from codex_obs import _drawing, _notebook
from codex_obs._series import Series

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

    from codex_obs import Run
    from codex_obs._series import Pixels

HOSTILE = '<script>alert("x")</script>\x1b[31m\u202e'


class Seen(HTMLParser):
    """What a browser would see: tags, texts and points of curves."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.curves: list[list[tuple[float, ...]]] = []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag == "polyline":
            places = (dict(attrs)["points"] or "").split()
            self.curves.append([tuple(map(float, place.split(","))) for place in places])

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def shown(run: Run) -> Seen:
    return Seen(run._repr_html_())


def test_it_says_how_the_run_stands_and_draws_its_metrics(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run", name="first") as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1), "norm": math.nan if step == 5 else 2.0}, step=step)
        seen = shown(run)
        assert " first" in seen.text
        assert "running" in seen.text
        assert str(tmp_path / "run") in seen.text
        assert "train/loss 0.01 train/norm 2" in seen.text
        assert len(seen.curves) == 2
    assert "finished after" in shown(run).text


def test_every_text_is_escaped(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "<b>run", name=HOSTILE) as run:
        run.log({HOSTILE: 1.0}, step=1, split=HOSTILE, dataset=HOSTILE)
        html = run._repr_html_()
    assert set(Seen(html).tags) <= {"div", "b", "br", "code", "table", "tr", "th", "td", "svg", "polyline"}
    assert "<script" not in html
    assert "<b>run" not in html
    assert "\x1b" not in html


def test_it_never_raises(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with codex_obs.init(tmp_path / "none") as empty:
        assert "<table" not in empty._repr_html_()
    with codex_obs.init(disabled=True) as disabled:
        assert "&lt;Run" in disabled._repr_html_()
    with codex_obs.init(tmp_path / "run") as run:
        run.log({"a": 1.7e308}, step=2**63 - 1)
        run.log({"a": -1.7e308}, step=-(2**63))
        assert len(shown(run).curves) == 1

        def broken(*_: object) -> str:
            raise RuntimeError

        monkeypatch.setattr(_notebook, "to_html", broken)
        assert run._repr_html_().startswith("<code>&lt;Run")


def test_many_metrics_and_many_bytes_are_not_all_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        run.log({f"m{number}": number for number in range(30)}, step=1)
        seen = shown(run)
        assert (len(seen.curves), "and 6 more" in seen.text) == (24, True)
        monkeypatch.setattr(_notebook, "_MOST_BYTES", 100)
        seen = shown(run)
        assert (len(seen.curves), "codex-obs view" in seen.text) == (0, True)


def pixels_of(path: Path, values: list[float], pixels: int) -> Pixels:
    with codex_obs.init(path) as run:
        for step, value in enumerate(values):
            run.log({"a": value}, step=step)
    series = Series(path)
    series.refresh()
    (curve,) = series.names()
    return series.pixels([curve.key], pixels=pixels)[curve.key]


def test_a_sparkline_rises_with_its_values_and_leaves_gaps(tmp_path: Path) -> None:
    values = [0.0, 1.0, 2.0, 3.0, math.nan, 5.0, 6.0, 7.0]
    assert _drawing.sparkline(pixels_of(tmp_path / "rising", values, 8), 8) == "▁▂▃▄ ▆▇█"
    assert _drawing.sparkline(pixels_of(tmp_path / "level", [2.0, 2.0], 2), 2) == "▅▅"
    assert _drawing.sparkline(pixels_of(tmp_path / "wide", [-1.7e308, 1.7e308], 2), 2) == "▁█"
    assert _drawing.sparkline(pixels_of(tmp_path / "few", [0.0, 7.0], 6), 6) == "▁▁▁███"


def test_a_picture_reaches_from_edge_to_edge(tmp_path: Path) -> None:
    values = [float(step % 10) for step in range(1000)]
    (curve,) = Seen(_drawing.svg(pixels_of(tmp_path / "run", values, 50), 50, 20)).curves
    xs, ys = [x for x, _ in curve], [y for _, y in curve]
    assert (min(xs), max(xs), min(ys), max(ys)) == (1.0, 49.0, 1.0, 19.0)
