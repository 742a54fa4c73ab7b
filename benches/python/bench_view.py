"""The page of runs: how long after the page its first chart is there, what a zoom takes, and what the server needs."""

from __future__ import annotations

import random
import shutil
import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pages import CHROMIUM, DRIVER, browser, served, until
from summaries import shards

if TYPE_CHECKING:
    from conftest import Figures
    from pages import Page

for needed in ("starlette", "uvicorn", "uplot"):
    pytest.importorskip(needed, reason="needs the extra view")

ROUNDS = 5
ZOOMS = 30
FIRST_CHART_S = 0.5
ONE_GB_MORE_S = 0.3
ZOOM_S = 0.1
MOST_MIB = 200
PIXELS = 600
PAGE_S = 1.0
DRAWN = """const cards = [...document.querySelectorAll('main .card')].map((one) => one.card);
const all = cards.filter((card) => card?.isNear);
return all.length > 0 && all.every((card) => card.chart && !card.asking)"""


def timed(page: Page, what: str, **query: object) -> tuple[float, bytes]:
    began = time.perf_counter()
    status, content = page.get(what, **query)
    seconds = time.perf_counter() - began
    assert status == 200, content
    return seconds, content


def peak_mib(page: Page) -> float:
    status = Path(f"/proc/{page.process.pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def look(run: Path) -> dict[str, Any]:
    """Open the page of a run anew: what the browser asks for, in its order."""
    dice = random.Random(1)
    with served(run, cwd=run.parent) as page:
        assert page.ask(f"/{page.token}/")[0] == 200
        (listed,) = page.json("runs")["runs"]
        names_s, _ = timed(page, "names", run=listed["key"])
        first_s, drawn = timed(page, "pixels", run=listed["key"], metric="loss", pixels=PIXELS)
        assert b'"run"' in drawn
        zooms = []
        for _ in range(ZOOMS):
            start, stop = sorted(dice.sample(range(listed["last_step"] + 1), 2))
            query = {"run": listed["key"], "metric": "loss", "pixels": PIXELS, "start": start, "stop": stop}
            zooms.append(timed(page, "pixels", **query)[0])
        return {"rows": listed["rows"], "first": names_s + first_s, "zoom": zooms, "peak": peak_mib(page)}


def doubled(run: Path, copy: Path) -> Path:
    """Make a run of every shard twice."""
    copy.mkdir()
    for number, shard in enumerate(shards(run) * 2):
        shutil.copyfile(shard, copy / f"metrics.ndjson{f'.{number}' if number else ''}")
    return copy


def test_the_first_chart_of_four_million_rows(figures: Figures, gigabyte: tuple[Path, int], tmp_path: Path) -> None:
    run, rows = gigabyte
    assert rows > 4_000_000
    looks = [look(run) for _ in range(ROUNDS)]
    assert {one["rows"] for one in looks} == {rows}
    larger = [look(doubled(run, tmp_path / f"{number}")) for number in range(2)]
    shutil.rmtree(tmp_path)
    first = statistics.median(one["first"] for one in looks)
    more = statistics.median(one["first"] for one in larger) - first
    zooms = sorted(seconds for one in looks for seconds in one["zoom"])
    zoom, worst = statistics.median(zooms), zooms[-1]
    peak = max(one["peak"] for one in looks)
    measures = {
        "view, first chart of 1 GB, s": first,
        "view, first chart of 2 GB, s more": more,
        "view, zoom, s": zoom,
        "view, slowest zoom, s": worst,
        "view, peak memory, MiB": peak,
    }
    figures.measures.update(measures)
    figures.add("view", "codex_obs", first)
    figures.notes += [
        f"view: first chart of {rows:,} rows {first:.2f} s after the page, of {FIRST_CHART_S} s allowed",
        f"view: 1 GB more rows change it by {more:.2f} s, of {ONE_GB_MORE_S} s allowed",
        f"view: a zoom takes {1000 * zoom:.0f} ms, {1000 * worst:.0f} ms at most, of {1000 * ZOOM_S:.0f} ms allowed",
        f"view: the server needs {peak:.0f} MiB at most, of {MOST_MIB} MiB allowed",
    ]


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")
def test_the_page_of_four_million_rows_in_chromium(figures: Figures, gigabyte: tuple[Path, int]) -> None:
    run, rows = gigabyte
    ready, drawn = [], []
    with browser() as driver:
        for _ in range(ROUNDS):
            with served(run, cwd=run.parent) as page:
                driver.get("about:blank")
                began = time.perf_counter()
                driver.get(page.address)
                until(driver, "return document.body.dataset.ready")
                ready.append(time.perf_counter() - began)
                until(driver, DRAWN)
                drawn.append(time.perf_counter() - began)
    figures.measures["view, page in Chromium, s"] = statistics.median(ready)
    figures.measures["view, all charts in sight in Chromium, s"] = statistics.median(drawn)
    figures.notes += [
        f"view: the page is there {statistics.median(ready):.2f} s after Chromium is sent to it, of {PAGE_S} s allowed",
        f"view: all charts in sight of {rows:,} rows are drawn after {statistics.median(drawn):.2f} s",
    ]
