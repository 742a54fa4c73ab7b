"""The page of runs while things happen: a run that is written, many runs, hostile names, a folder without runs."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

import codex_obs
from pages import CHROMIUM, DRIVER, browser, console, served, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

for needed in ("starlette", "uvicorn", "uplot", "selenium"):
    pytest.importorskip(needed, reason="needs the extras view and dev")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

LAST = "return Math.max(...[...document.querySelectorAll('#charts .card')].map((one) => one.card.head?.stop ?? -1))"
# Every text of the page: also those of titles, labels and lists.
SHOWN = """const walker = document.createTreeWalker(document.documentElement, NodeFilter.SHOW_TEXT);
const found = [];
while (walker.nextNode()) found.push(walker.currentNode.data);
for (const one of document.querySelectorAll('*'))
  for (const name of ['title', 'aria-label', 'placeholder', 'value']) found.push(one.getAttribute(name) ?? '');
return found.join('');"""
HOSTILE = (
    "<script>window.pwned = 1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "\x1b[31mred\x1b]0;title\x07",
    "\u202egnirts\u2066 left",
    "';window.pwned=1;//",
    "{{7*7}}${window.pwned=1}",
    "long " * 800,
)


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


def severe(driver: Chrome) -> list[str]:
    """Leave the page, and give what went wrong on it."""
    driver.get("about:blank")
    return console(driver)


def test_a_folder_without_runs_says_what_to_do_and_shows_the_first_one(driver: Chrome, tmp_path: Path) -> None:
    with served(tmp_path, cwd=tmp_path) as page:
        driver.get(page.address)
        words = until(driver, "return document.body.dataset.ready && document.getElementById('empty').innerText")
        assert "codex_obs.init(" in words
        with codex_obs.init(tmp_path / "first") as run:
            run.log({"loss": 1.0}, step=0)
            run.flush()
            until(driver, "return document.querySelector('#list .run')?.dataset.key === 'first'")
            until(driver, "return document.querySelector('#charts .card')?.card.title === 'loss'")
            assert driver.execute_script("return document.getElementById('empty').hidden")
        assert severe(driver) == []


def test_a_run_that_grows_is_followed(driver: Chrome, tmp_path: Path) -> None:
    with served(tmp_path, cwd=tmp_path) as page, codex_obs.init(tmp_path / "first") as run:
        for step in range(100):
            run.log({"loss": 1 / (step + 1)}, step=step)
        run.flush()
        driver.get(page.address)
        until(driver, f"return (() => {{ {LAST} }})() === 99")
        for step in range(100, 1100):
            run.log({"loss": 1 / (step + 1)}, step=step)
        run.flush()
        until(driver, f"return (() => {{ {LAST} }})() === 1099")
        run.log({"accuracy": 0.5}, step=1100)
        run.flush()
        # A metric that came later has a chart of its own, and the list says how far the run is.
        until(
            driver,
            "return [...document.querySelectorAll('#charts .card')].some((one) => one.card.title === 'accuracy')",
        )
        until(driver, "return document.querySelector('#list .facts').textContent.includes('1,100')")
        assert severe(driver) == []


def test_names_of_an_attacker_are_shown_as_text_everywhere(driver: Chrome, tmp_path: Path) -> None:
    for number, text in enumerate(HOSTILE):
        path = tmp_path / text.replace("/", "∕").encode()[:200].decode(errors="ignore").replace("\0", "")
        with codex_obs.init(path, name=text, config={text: text, "list": [text]}, tags={text: text}) as run:
            for step in range(3):
                run.log({text: step + number, "loss": step}, step=step, split=text, dataset=text)
            run.log({"text": text, text + " h": {"counts": [1, 2], "edges": [0, 1, 2]}}, step=3)
        with (path / "tracking_summary.ndjson").open("a") as file:
            record = {"component": text, "status": "degraded", "reason": text, "extra": {"cause": text, "count": 2}}
            file.write(json.dumps(record) + "\n")
            file.write(json.dumps(record | {"component": "ndjson"}) + "\n")
        (path / "export_rejected.ndjson").write_text(json.dumps({"error": text}) + "\n")
        sample = {"ts": 1.0, "host": text, "cpu_percent": 5.0, "disk": {text: 1.0}}
        (path / "system_metrics.jsonl").write_text(json.dumps(sample) + "\n")
        event = {
            "timestamp": "2026-11-20T08:15:30Z",
            "event": f"{text}.start",
            "span_id": text,
            "metadata": {"name": text},
        }
        (path / "telemetry.ndjson").write_text(json.dumps(event) + "\n")
    with served(tmp_path, cwd=tmp_path) as page:
        driver.get(page.address + "#all=1")
        until(driver, "return document.body.dataset.ready")
        until(driver, "return document.querySelectorAll('#charts .card').length >= 10")
        until(
            driver, "return [...document.querySelectorAll('#charts .card')].slice(0, 4).every((one) => one.card.chart)"
        )
        for tab in ("table", "system", "spans", "details", "charts"):
            driver.find_element("id", f"tab-{tab}").click()
            until(driver, f"return document.getElementById('{tab}').textContent.includes('window.pwned')")
        driver.find_element("id", "tab-details").click()
        until(driver, "return document.querySelectorAll('#details .loss').length >= 8")
        assert driver.execute_script("return window.pwned") is None
        assert driver.execute_script("return [...document.scripts].map((one) => one.src.split('/').pop())") == [
            "uPlot.iife.js",
            "main.js",
        ]
        made = "return document.querySelectorAll(':is(main, aside) :is(img, svg), [onerror], [onload]').length"
        assert driver.execute_script(made) == 0
        shown = driver.execute_script(SHOWN)
        assert not set(shown) & set("\x1b\x07\u202e\u2066")
        assert "\\u202e" in shown
        assert driver.execute_script("return document.documentElement.scrollWidth <= innerWidth")
        assert severe(driver) == []


@pytest.mark.big
def test_fifty_runs_of_two_hundred_metrics_are_overlaid_and_filtered(driver: Chrome, tmp_path: Path) -> None:
    for number in range(50):
        with codex_obs.init(tmp_path / f"run-{number}", config={"lr": number / 100}) as run:
            for step in range(40):
                run.log({f"layer {place}/norm": number + place + step for place in range(200)}, step=step)
    with served(tmp_path, cwd=tmp_path) as page:
        driver.get(page.address + "#all=1")
        until(driver, "return document.querySelectorAll('#charts .card').length === 200")
        until(driver, "return document.querySelector('#charts .card').card.head?.curves.length === 50")
        box = driver.find_element("id", "filter")
        box.send_keys("lr>=0.4")
        until(driver, "return document.querySelector('#charts .card').card.head?.curves.length === 10")
        driver.find_element("id", "find").send_keys("layer 17")
        until(driver, "return document.querySelectorAll('#charts .card').length === 12")
        until(driver, "return document.querySelector('#charts .card').card.head?.curves.length === 10")
        assert severe(driver) == []


def test_a_server_that_has_ended_is_named(driver: Chrome, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "first") as run:
        run.log({"loss": 1.0}, step=0)
    with served(tmp_path, cwd=tmp_path) as page:
        driver.get(page.address)
        until(driver, "return document.querySelector('#charts .card')?.card.head")
        os.kill(page.process.pid, 9)
        page.process.wait(10)
        driver.find_element("id", "filter").send_keys("x=1")
        assert "has ended" in until(
            driver,
            "return document.getElementById('problem').hidden ? '' : document.getElementById('problem').textContent",
        )
        severe(driver)
