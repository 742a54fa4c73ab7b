"""Pictures of the page, for the documentation: ``pytest --pictures docs/assets`` keeps them there."""

from __future__ import annotations

import base64
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pages import CHROMIUM, DRIVER, browser, console, point, resize, served, until
from sweep import write_sweep

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from pages import Page

for needed in ("starlette", "uvicorn", "uplot", "selenium"):
    pytest.importorskip(needed, reason="needs the extras view and dev")
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Debian's chromium and chromium-driver")

DRAWN = """const all = [...document.querySelectorAll('main .card')].map((one) => one.card);
const cards = all.filter((card) => card?.isNear);
return cards.length > 0 && cards.every((card) => card.chart && !card.asking && card.state.textContent === '')"""
TABLE = "return document.querySelectorAll('#table th').length > 12"
LARGE = "return document.querySelectorAll('#large tbody tr').length > 5"
# Name, width, height, theme, choice, what is true once the page is complete.
PICTURES = (
    ("view-charts", 1280, 800, "light", "#smooth=0.85", DRAWN),
    ("view-charts-dark", 1280, 800, "dark", "#smooth=0.85&logy=1", DRAWN),
    ("view-table", 1280, 430, "light", "#tab=table&column=eval/accuracy&column=eval/loss&sort=eval/loss.min", TABLE),
    ("view-metric", 1280, 800, "light", "#chart=loss&smooth=0.85&where=status%3Dfinished", LARGE),
    ("view-phone", 390, 800, "light", "#smooth=0.85&find=loss", DRAWN),
)


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    folder = tmp_path_factory.mktemp("pictures")
    write_sweep(folder / "runs" / "digits")
    with served("runs/digits", cwd=folder) as page:
        yield page


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    with browser() as driver:
        yield driver


@pytest.mark.parametrize(("name", "width", "height", "theme", "choice", "complete"), PICTURES)
def test_a_view_is_complete_in_a_picture(
    driver: Chrome,
    page: Page,
    pytestconfig: pytest.Config,
    tmp_path: Path,
    *,
    name: str,
    width: int,
    height: int,
    theme: str,
    choice: str,
    complete: str,
) -> None:
    driver.get("about:blank")
    resize(driver, width, height, theme)
    driver.get(page.address + choice)
    until(driver, "return document.body.dataset.ready")
    until(driver, complete)
    if name == "view-charts":
        over = driver.execute_script("return document.querySelectorAll('#charts .card')[2].card.chart.plot.over")
        point(driver, over, 0.4)
        until(driver, "return [...document.querySelectorAll('.tip')].some((tip) => !tip.hidden)")
    picture = base64.b64decode(driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png"})["data"])
    assert struct.unpack(">II", picture[16:24]) == (width, height)
    assert console(driver) == []
    kept = pytestconfig.getoption("--pictures")
    (Path(kept) if kept else tmp_path).joinpath(f"{name}.png").write_bytes(picture)
