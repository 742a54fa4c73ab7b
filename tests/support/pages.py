"""A page of runs as a process of its own, asked by hand or looked at in a real browser."""

from __future__ import annotations

import http.client
import json
import os
import selectors
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

DEADLINE_S = 60
CHROMIUM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")


class Page:
    """A served page."""

    def __init__(self, address: str, process: subprocess.Popen[str]) -> None:
        self.address = address
        self.process = process
        parts = urlsplit(address)
        self.port = int(parts.port or 0)
        self.token = parts.path.strip("/")

    def ask(self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
        """Ask for a path as it stands, with the headers that are given: `Host` too."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)
        try:
            connection.putrequest(method, path, skip_host=True)
            for name, value in ({"Host": f"127.0.0.1:{self.port}"} | dict(headers or {})).items():
                connection.putheader(name, value)
            connection.endheaders()
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def get(self, what: str, **query: object) -> tuple[int, bytes]:
        """Ask for something of the page's own."""
        return self.ask(f"/{self.token}/api/{what}?{urlencode(query, doseq=True, quote_via=quote)}")

    def json(self, what: str, **query: object) -> Any:
        """Ask for something that comes as JSON, and is there."""
        status, content = self.get(what, **query)
        assert status == 200, content
        return json.loads(content)


@contextmanager
def served(*paths: Path | str, cwd: Path) -> Iterator[Page]:
    """Serve runs until the block is left."""
    environ = {key: value for key, value in os.environ.items() if key != "CODEX_OBS_RUN_DIR"}
    command = [sys.executable, "-m", "codex_obs", "view", *map(str, paths), "--port", "0"]
    process = subprocess.Popen(
        command, cwd=cwd, env=environ, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        assert process.stdout is not None
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            assert selector.select(DEADLINE_S), "no address came"
        address = process.stdout.readline().strip()
        assert address, process.communicate(timeout=DEADLINE_S)[1]
        yield Page(address, process)
    finally:
        process.kill()
        process.communicate(timeout=DEADLINE_S)


@contextmanager
def browser(width: int = 1280, height: int = 800) -> Iterator[Chrome]:
    """Start Chromium; what a page says on its console is an error of the test."""
    from selenium import webdriver  # noqa: PLC0415 - of the extra dev
    from selenium.webdriver.chrome.service import Service  # noqa: PLC0415 - the same

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in (
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--disable-dev-shm-usage",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
        f"--window-size={width},{height}",
    ):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(DRIVER)))
    try:
        resize(driver, width, height)
        yield driver
    finally:
        driver.quit()


def resize(driver: Chrome, width: int, height: int, theme: str = "light") -> None:
    """Give the page a size and a theme."""
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    features = {"features": [{"name": "prefers-color-scheme", "value": theme}]}
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", features)


def drag(driver: Chrome, over: WebElement, start: float, stop: float) -> None:
    """Draw a range over an element, as parts of its width."""
    from selenium.webdriver import ActionChains  # noqa: PLC0415 - of the extra dev

    width = over.size["width"]
    actions = ActionChains(driver, duration=20)
    actions.move_to_element_with_offset(over, int((start - 0.5) * width), 0).click_and_hold()
    actions.move_by_offset(int((stop - start) * width), 3).release().perform()


def point(driver: Chrome, over: WebElement, at: float) -> None:
    """Move the mouse to a place of an element, as a part of its width."""
    from selenium.webdriver import ActionChains  # noqa: PLC0415 - of the extra dev

    actions = ActionChains(driver, duration=20)
    actions.move_to_element_with_offset(over, int((at - 0.5) * over.size["width"]), 0).perform()


def console(driver: Chrome) -> list[str]:
    """Give what went wrong on the page since this was asked last."""
    return [entry["message"] for entry in logged(driver, "browser") if entry["level"] == "SEVERE"]


def logged(driver: Chrome, kind: str) -> list[dict[str, Any]]:
    """Give what the browser has logged since this was asked last."""
    entries: list[dict[str, Any]] = driver.get_log(kind)  # type: ignore[no-untyped-call]  # selenium's
    return entries


def until(driver: Chrome, script: str, *given: object) -> Any:
    """Poll until a script gives something that is true, and give it."""
    end = time.monotonic() + DEADLINE_S
    while True:
        found = driver.execute_script(f"return (() => {{ {script} }})()", *given)
        if found:
            return found
        assert time.monotonic() < end, f"not within {DEADLINE_S} s: {script}\n{logged(driver, 'browser')}"
        time.sleep(0.02)
