"""A report is one file that shows what the page shows, and asks nobody for anything."""

from __future__ import annotations

import base64
import json
import math
import random
import re
import zlib
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from command import start
from pages import CHROMIUM, DRIVER, browser, console, drag, logged, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

pytest.importorskip("uplot", reason="needs the extra view")

ROWS = 3000
SPIKE = 1234
HOSTILE = "</script><script>document.title = 'taken'</script>"
CARD = """const cards = [...document.querySelectorAll('#charts .card')].map((one) => one.card);
const card = cards.find((one) => one.title === arguments[0]);"""
DRAWN = f"{CARD} return card?.chart?.plot && card.head && !card.asking"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs")
    for number, lr in enumerate((0.1, 0.01)):
        with codex_obs.init(folder / f"lr-{lr}", config={"lr": lr, "optimizer": {"name": "adam"}}) as run:
            for step in range(ROWS):
                run.log({"loss": 9.0 if step == SPIKE else math.exp(-step * lr) + number}, step=step)
            run.log({"loss": math.nan, HOSTILE: 1.0, "note": HOSTILE}, step=ROWS)
            run.log({"weights": {"counts": [1, 5, 2], "edges": [0.0, 1.0, 2.0, 3.0]}}, step=1)
        samples = ({"ts": 1.8e9 + number * 10, "host": "h", "cpu_percent": 50.0 + number} for number in range(9))
        (run.path / "system_metrics.jsonl").write_text("".join(f"{json.dumps(sample)}\n" for sample in samples))
    return folder


def report(folder: Path, dest: Path) -> dict[str, Any]:
    done = start("report", folder, "--dest", dest, "--json", cwd=dest.parent)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["bytes"] == dest.stat().st_size
    return found


def held(dest: Path) -> dict[str, Any]:
    """Give what a report answers from."""
    match = re.search(r'<script type="text/plain" id="held">([\w+/=]+)</script>', dest.read_text())
    assert match is not None
    content: dict[str, Any] = json.loads(zlib.decompress(base64.b64decode(match[1])))
    return content


def test_a_hundred_metrics_fit_into_five_megabytes_and_keep_their_extremes(tmp_path: Path) -> None:
    values = random.Random(7)
    with codex_obs.init(tmp_path / "run") as run:
        names = [f"metric-{number}" for number in range(100)]
        for step in range(3000):
            run.log({name: values.gauss(0, 1) + (1000 if step == 777 else 0) for name in names}, step=step)
    found = report(tmp_path / "run", tmp_path / "report.html")
    assert (found["runs"], found["metrics"]) == (1, 100)
    assert found["bytes"] <= 5_000_000
    assert found["pixels"] >= 100
    curves = held(tmp_path / "report.html")["curves"]
    true = {row["metric"]: row for row in codex_obs.summarize(tmp_path / "run").iter_rows(named=True)}
    for curve in curves:
        for axis in ("step", "time"):
            columns = curve[axis]
            high, low = max(columns.get("max", columns["last"])), min(columns.get("min", columns["last"]))
            assert high == pytest.approx(true[curve["metric"]]["max_value"], rel=1e-5)
            assert low == pytest.approx(true[curve["metric"]]["min_value"], rel=1e-5)
            assert sum(columns.get("count", [1] * len(columns["last"]))) == 3000
    assert len(curves) == 100


def test_what_cannot_be_reported_is_said(tmp_path: Path) -> None:
    nothing = tmp_path / "nothing"
    nothing.mkdir()
    dest = tmp_path / "report.html"
    for arguments, words in (
        ((str(nothing), "--dest", str(dest)), "No run in"),
        ((str(tmp_path / "missing"), "--dest", str(dest)), "is no folder"),
        ((str(nothing), "--dest", str(tmp_path / "no" / "report.html")), "does not exist"),
        ((str(nothing),), "--dest"),
    ):
        done = start("report", *arguments, cwd=tmp_path)
        assert (done.returncode, dest.exists()) == (2, False)
        assert words in done.stderr


def test_a_report_is_no_reason_to_write_into_a_run(folder: Path, tmp_path: Path) -> None:
    done = start("report", folder / "lr-0.1", "--dest", folder / "lr-0.1" / "metrics.ndjson", cwd=tmp_path)
    assert done.returncode == 2
    assert "file of the run" in done.stderr
    report(folder, tmp_path / "report.html")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    pytest.importorskip("selenium", reason="needs the extra dev")
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs Debian's chromium and chromium-driver")
    with browser() as driver:
        yield driver


@pytest.fixture
def opened(chromium: Chrome, folder: Path, tmp_path: Path) -> Iterator[Chrome]:
    """Open a report from disk; afterwards nothing may have gone wrong, and nothing may have been asked for."""
    dest = tmp_path / "report.html"
    report(folder, dest)
    chromium.get("about:blank")
    logged(chromium, "performance")
    chromium.get(dest.as_uri())
    until(chromium, "return document.body.dataset.ready === '1'")
    yield chromium
    assert console(chromium) == []
    messages = [json.loads(entry["message"])["message"] for entry in logged(chromium, "performance")]
    asked = [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]
    assert [url for url in asked if not url.startswith("data:")] == [dest.as_uri()]


def test_it_draws_the_charts_of_every_run_from_disk(opened: Chrome) -> None:
    until(opened, DRAWN, "loss")
    curves = opened.execute_script(f"{CARD} return card.head.curves.map((one) => [one.run, one.n])", "loss")
    assert sorted(run for run, _ in curves) == ["lr-0.01", "lr-0.1"]
    highest = f"{CARD} return Math.max(...card.head.curves[0].max)"
    assert opened.execute_script(f"return (() => {{ {highest} }})()", "loss") == 9.0
    until(opened, f"{CARD} return card.note.textContent.includes('2 not finite')", "loss")
    assert "taken" not in opened.title
    until(opened, f"{CARD} return Boolean(card)", HOSTILE)


def test_zoom_axes_smoothing_and_filter_need_no_server(opened: Chrome) -> None:
    until(opened, DRAWN, "loss")
    over = opened.execute_script(f"{CARD} return card.element.querySelector('.u-over')", "loss")
    drag(opened, over, 0.25, 0.5)
    until(opened, f"{CARD} return card.chart.view.start > 500 && card.chart.view.stop < 2000", "loss")
    for press in ("#whole", "#axis button[value=relative]", "#logy"):
        opened.execute_script("document.querySelector(arguments[0]).click()", press)
        until(opened, DRAWN, "loss")
    until(opened, f"{CARD} return card.chart.view.axis === 'relative' && card.chart.view.start === 0", "loss")
    opened.execute_script(
        "const box = document.getElementById('filter'); box.value = 'lr<0.05'; box.dispatchEvent(new Event('input'))"
    )
    until(opened, "return document.querySelectorAll('#list .run').length === 1")
    until(opened, f"{CARD} return card.head?.curves.length === 1", "loss")


def test_table_system_and_details_are_there(opened: Chrome) -> None:
    shown = {
        "table": "return document.querySelector('#table').textContent.includes('0.01')",
        "system": "return document.querySelectorAll('#system .card').length === 1",
        "spans": "return document.querySelector('#spans').textContent.includes('no spans')",
        "details": "return document.querySelector('#details').textContent.includes('Nothing is lost')",
    }
    for tab, is_there in shown.items():
        opened.execute_script("document.getElementById(arguments[0]).click()", f"tab-{tab}")
        until(opened, is_there)
