"""The page of runs in a real browser."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from pages import CHROMIUM, DRIVER, browser, console, drag, logged, point, resize, served, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

    from pages import Page

for needed in ("starlette", "uvicorn", "uplot", "selenium"):
    pytest.importorskip(needed, reason="needs the extras view and dev")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

# As the protocol of drivers writes keys.
ENTER, ESCAPE = "\ue007", "\ue00c"
ROWS = 6000
SPIKE = 4321
# A card, found by the metric that it shows.
CARD = """const cards = [...document.querySelectorAll('#charts .card')].map((one) => one.card);
const card = cards.find((one) => one.title === arguments[0]);"""
DRAWN = f"{CARD} return card?.chart?.plot && card.head && !card.asking"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    for number, lr in enumerate((0.1, 0.01, 0.001)):
        config = {"lr": lr, "optimizer": {"name": "adam" if number else "sgd"}}
        with codex_obs.init(folder / "runs" / f"lr-{lr}", config=config) as run:
            for step in range(ROWS):
                value = math.exp(-step * lr / 50) + 0.05 * math.sin(step * 0.7)
                run.log({"loss": 9.0 if step == SPIKE else value, "grad/norm": value * 2}, step=step)
            for step in range(0, ROWS, 500):
                run.log({"loss": math.exp(-step * lr / 50)}, step=step, split="eval")
                run.log({"weights": {"counts": [1, 5 + step // 500, 2], "edges": [0.0, 1.0, 2.0, 3.0]}}, step=step)
    _add_records(folder / "runs" / "lr-0.1")
    with codex_obs.init(folder / "runs" / "odd", config={"lr": 1.0}) as run:
        for step in range(10):
            run.log({"odd": [1.0, math.nan, 2.0, math.inf, 3.0, -math.inf, 1.0, 2.0, 2.5, 1.5][step]}, step=step)
    return folder


def _add_records(path: Path) -> None:
    """Write what samplers, telemetry and a writer in trouble leave in a run."""
    samples = [
        {"ts": 1.79e9 + step, "host": "node", "cpu_percent": step, "memory": {"used": 4e9}} for step in range(50)
    ]
    spans = [
        {"timestamp": f"2026-11-20T08:15:{second:02}Z", "event": event, "span_id": span, "parent_span_id": parent}
        for second, event, span, parent in (
            (1, "turn.start", "a", None),
            (2, "tool.start", "b", "a"),
            (3, "tool.failure", "b", "a"),
            (5, "turn.stop", "a", None),
            (6, "turn.start", "c", None),
        )
    ]
    loss = {
        "component": "ndjson",
        "status": "degraded",
        "reason": "ndjson:dropped",
        "extra": {"cause": "full", "count": 7},
    }
    for name, records in (
        ("system_metrics.jsonl", samples),
        ("telemetry.ndjson", spans),
        ("tracking_summary.ndjson", [loss]),
    ):
        with (path / name).open("a") as file:
            file.writelines(f"{json.dumps(record)}\n" for record in records)


@pytest.fixture(scope="module")
def page(folder: Path) -> Iterator[Page]:
    with served("runs", cwd=folder) as page:
        yield page


@pytest.fixture(scope="module")
def chromium() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.fixture
def driver(chromium: Chrome) -> Iterator[Chrome]:
    """Give a browser that shows nothing yet; afterwards nothing may have gone wrong in it."""
    chromium.get("about:blank")
    resize(chromium, 1280, 800)
    console(chromium)
    logged(chromium, "performance")
    yield chromium
    assert console(chromium) == []
    assert {address for address in asked(chromium) if not address.startswith(("about:", "http://127.0.0.1:"))} == set()


def asked(driver: Chrome) -> list[str]:
    """Addresses that the browser asked for since this was asked last."""
    messages = [json.loads(entry["message"])["message"] for entry in logged(driver, "performance")]
    return [one["params"]["request"]["url"] for one in messages if one["method"] == "Network.requestWillBeSent"]


def show(driver: Chrome, page: Page, choice: str = "") -> None:
    driver.get("about:blank")
    driver.get(page.address + choice)
    until(driver, "return document.body.dataset.ready")


def curves(driver: Chrome, metric: str) -> list[dict[str, Any]]:
    """What a card shows, once it does."""
    until(driver, DRAWN, metric)
    script = f"""{CARD} return card.head.curves.map(({{ run, split, form, n, x, max, nan, up, down }}) => (
        {{ run, split, form, n, x: [...x], max: [...max].map(String), nan: [...nan], up: [...up], down: [...down] }}
    ))"""
    found: list[dict[str, Any]] = driver.execute_script(script, metric)
    return found


def over(driver: Chrome, metric: str) -> WebElement:
    """The part of a card that takes the mouse."""
    found: WebElement = driver.execute_script(
        f"{CARD} card.element.scrollIntoView(); return card.chart.plot.over", metric
    )
    return found


def titles(driver: Chrome) -> list[str]:
    return driver.execute_script("return [...document.querySelectorAll('#charts .card')].map((one) => one.card.title)")  # type: ignore[no-any-return]


def address(driver: Chrome) -> str:
    return driver.execute_script("return location.hash")  # type: ignore[no-any-return]


def test_every_metric_is_a_chart_with_all_runs_and_splits(driver: Chrome, page: Page) -> None:
    show(driver, page)
    assert sorted(titles(driver)) == ["grad/norm", "loss", "odd", "weights"]
    found = curves(driver, "loss")
    assert {(curve["run"], curve["split"]) for curve in found} == {
        (f"lr-{lr}", split) for lr in (0.1, 0.01, 0.001) for split in ("train", "eval")
    }
    for curve in found:
        assert curve["form"] == ("pixels" if curve["split"] == "train" else "rows")
        # However many rows a pixel has, the spike of one of them is there.
        assert ("9" in curve["max"]) == (curve["split"] == "train")


def test_something_is_drawn_in_the_colours_of_the_runs(driver: Chrome, page: Page) -> None:
    show(driver, page)
    curves(driver, "loss")
    seen = driver.execute_script(
        f"""{CARD} const canvas = card.chart.plot.ctx.canvas;
        const data = card.chart.plot.ctx.getImageData(0, 0, canvas.width, canvas.height).data;
        const seen = new Set();
        const hex = (value) => value.toString(16).padStart(2, '0');
        for (let at = 0; at < data.length; at += 4)
          if (data[at + 3] === 255) seen.add('#' + hex(data[at]) + hex(data[at + 1]) + hex(data[at + 2]));
        return [[...new Set(card.head.curves.map((curve) => curve.color))], [...seen]]""",
        "loss",
    )
    wanted, colors = seen
    assert len(wanted) == 3
    assert set(wanted) <= set(colors)


def test_a_range_that_is_drawn_is_asked_for_in_full_resolution(driver: Chrome, page: Page) -> None:
    show(driver, page, "#run=lr-0.1&find=loss")
    assert curves(driver, "loss")[1]["form"] == "pixels"
    drag(driver, over(driver, "loss"), 0.70, 0.75)
    until(driver, "return /from=\\d+&to=\\d+/.test(location.hash)")
    until(driver, f"{CARD} return card.head.curves.some((one) => one.split === 'train' && one.form === 'rows')", "loss")
    train = next(curve for curve in curves(driver, "loss") if curve["split"] == "train")
    steps = [int(x) for x in train["x"]]
    assert steps == list(range(steps[0], steps[-1] + 1))
    assert 4100 < steps[0] < SPIKE < steps[-1] < 4600
    driver.find_element("id", "whole").click()
    until(driver, f"{CARD} return card.head.stop === {ROWS - 1}", "loss")
    driver.back()
    until(driver, f"{CARD} return card.head.stop < {ROWS - 1}", "loss")


def test_values_that_are_not_finite_are_marked_and_named(driver: Chrome, page: Page) -> None:
    show(driver, page, "#run=odd")
    (curve,) = curves(driver, "odd")
    assert (curve["nan"].index(1), curve["up"].index(1), curve["down"].index(1)) == (1, 3, 5)
    note = until(driver, f"{CARD} return card.note.textContent", "odd")
    assert note == "3 not finite"
    # Crosses and arrows of the run's colour stand where no line is: at the edges.
    inked = driver.execute_script(
        f"""{CARD} const {{ plot }} = card.chart; const {{ left, top, width, height }} = plot.bbox;
        return [1, 3, 5].map((step) => {{
          const x = Math.round(plot.valToPos(step, 'x', true));
          const y = step === 3 ? top + 1 : top + height - 11;
          return plot.ctx.getImageData(x - 4, y, 8, 10).data.filter((value, at) => at % 4 === 3 && value > 200).length;
        }})""",
        "odd",
    )
    assert all(count > 8 for count in inked)


def test_a_point_says_what_it_is(driver: Chrome, page: Page) -> None:
    show(driver, page, "#run=odd")
    curves(driver, "odd")
    point(driver, over(driver, "odd"), 3 / 9)
    words = until(driver, f"{CARD} return !card.chart.tip.hidden && card.chart.tip.textContent", "odd")
    assert words == "step 3odd · train∞"


def test_what_is_chosen_survives_a_reload_and_opens_in_a_second_tab(driver: Chrome, page: Page) -> None:
    show(driver, page)
    driver.find_element("css selector", "#axis button[value=relative]").click()
    driver.find_element("id", "logy").click()
    driver.find_element("id", "find").send_keys("loss")
    for key in ("lr-0.001", "odd"):
        driver.find_element("css selector", f"#list .run[data-key='{key}'] input").click()
    until(driver, "return /find=loss/.test(location.hash)")
    before = address(driver)
    assert before == "#run=lr-0.1&run=lr-0.01&find=loss&axis=relative&logy=1" or set(before[1:].split("&")) == {
        "run=lr-0.1", "run=lr-0.01", "find=loss", "axis=relative", "logy=1",
    }  # fmt: skip
    shown = [(curve["run"], curve["split"], curve["n"]) for curve in curves(driver, "loss")]
    driver.refresh()
    until(driver, "return document.body.dataset.ready")
    assert address(driver) == before
    assert [(curve["run"], curve["split"], curve["n"]) for curve in curves(driver, "loss")] == shown
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        driver.get(page.address + before)
        until(driver, "return document.body.dataset.ready")
        assert [(curve["run"], curve["split"], curve["n"]) for curve in curves(driver, "loss")] == shown
        driver.find_element("id", "logy").click()
        until(driver, "return !/logy/.test(location.hash)")
    finally:
        driver.close()
        driver.switch_to.window(first)
    assert address(driver) == before


def test_runs_are_filtered_and_sorted_by_parameters_and_values(driver: Chrome, page: Page) -> None:
    show(driver, page)
    box = driver.find_element("id", "filter")
    box.send_keys("lr<=0.01 optimizer.name=adam")
    listed = "return [...document.querySelectorAll('#list .run')].map((one) => one.dataset.key).join()"
    until(driver, f"return (() => {{ {listed} }})() === 'lr-0.001,lr-0.01'")
    both = "[...new Set(card.head.curves.map((one) => one.run))].join() === 'lr-0.001,lr-0.01'"
    until(driver, f"{CARD} return card.head && {both}", "loss")
    driver.find_element("id", "tab-table").click()
    header = until(
        driver, "return [...document.querySelectorAll('#table th button')].find((one) => one.textContent === 'loss')"
    )
    header.click()
    until(driver, "return /sort=loss.last/.test(location.hash)")
    first = "return document.querySelector('#table tbody .name').textContent"
    until(driver, f"return (() => {{ {first} }})() === 'lr-0.01'")
    script = (
        "const box = document.getElementById('filter'); box.value = 'nothing=1'; box.dispatchEvent(new Event('input'))"
    )
    driver.execute_script(script)
    problem = "document.getElementById('problem')"
    words = until(driver, f"return !{problem}.hidden && {problem}.textContent")
    assert "No run has nothing" in words
    console(driver)  # a wrong condition is an answer with status 422, which the browser notes


def test_every_view_can_be_reached_by_keys_alone(driver: Chrome, page: Page) -> None:
    show(driver, page)
    body = driver.find_element("tag name", "body")
    for key, tab in zip("2345", ("table", "system", "spans", "details"), strict=True):
        body.send_keys(key)
        until(driver, f"return !document.getElementById('{tab}').hidden && document.getElementById('charts').hidden")
    body.send_keys("1")
    curves(driver, "loss")
    body.send_keys("xls")
    until(driver, "return ['axis=time', 'logy=1', 'smooth=0.1'].every((part) => location.hash.includes(part))")
    body.send_keys("0")
    body.send_keys("j")
    until(driver, "return document.activeElement.matches('.card')")
    driver.switch_to.active_element.send_keys("+")
    until(driver, "return location.hash.includes('from=')")
    driver.switch_to.active_element.send_keys(ENTER)
    until(driver, "return document.getElementById('large').open && document.querySelector('#large tbody tr')")
    driver.switch_to.active_element.send_keys(ESCAPE)
    until(driver, "return !document.getElementById('large').open && !location.hash.includes('chart=')")
    body.send_keys("?")
    until(driver, "return document.getElementById('help').open")
    driver.switch_to.active_element.send_keys(ESCAPE)


def test_histograms_are_maps(driver: Chrome, page: Page) -> None:
    show(driver, page, "#find=weights")
    until(driver, "return document.querySelectorAll('#charts canvas.heat').length === 3")
    pixels = "document.querySelector('canvas.heat').getContext('2d').getImageData(100, 10, 200, 30)"
    until(driver, f"return {pixels}.data.some((value) => value > 0)")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("tab", ["charts", "table", "system", "spans", "details"])
def test_a_phone_shows_every_view_without_sideways_scrolling(driver: Chrome, page: Page, tab: str, theme: str) -> None:
    resize(driver, 390, 800, theme)
    show(driver, page, f"#tab={tab}")
    until(driver, "return document.querySelector('main').scrollWidth > 0")
    assert driver.execute_script(
        "return [document.documentElement.scrollWidth, document.querySelector('main').scrollWidth]"
    ) == [390, 390]
    driver.find_element("id", "menu").click()
    until(driver, "return document.querySelector('aside').getBoundingClientRect().left === 0")


def test_samples_spans_and_losses_are_shown(driver: Chrome, page: Page) -> None:
    show(driver, page, "#run=lr-0.1&tab=system")
    until(
        driver,
        "return [...document.querySelectorAll('#system .card')].every((one) => one.card.chart?.curves[0].n === 50)",
    )
    titles = "return [...document.querySelectorAll('#system .card')].map((one) => one.card.title).join()"
    assert driver.execute_script(titles) == "cpu_percent,memory.used"
    driver.find_element("id", "tab-spans").click()
    until(driver, "return document.querySelectorAll('.span').length === 3")
    shown = "[one.textContent, one.className.trim(), one.style.top]"
    bars = f"return [...document.querySelectorAll('.span')].map((one) => {shown})"
    assert driver.execute_script(bars) == [
        ["turn", "span", "0px"],
        ["tool", "span failed", "22px"],
        ["turn", "span open", "0px"],
    ]
    driver.find_element("id", "tab-details").click()
    assert "7 rows dropped (full)" in until(driver, "return document.querySelector('#details .loss')?.textContent")


def test_a_run_without_spans_losses_or_samples_says_so(driver: Chrome, page: Page) -> None:
    show(driver, page, "#run=odd&tab=system")
    assert "system_metrics" in until(driver, "return document.getElementById('system').textContent")
    driver.find_element("id", "tab-details").click()
    assert until(driver, "return document.querySelector('#details .good')?.textContent") == "Nothing is lost."
