"""Who gets an answer from the page of runs, and to what."""

from __future__ import annotations

import http.client
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

import codex_obs
from command import start
from pages import DEADLINE_S, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from pages import Page

for needed in ("starlette", "uvicorn", "uplot"):
    pytest.importorskip(needed, reason="needs the extra view")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("guard")
    for path in ("runs/first", "secret/hidden"):
        with codex_obs.init(folder / path) as run:
            run.log({"loss": 0.5}, step=1)
    (folder / "runs" / "linked").symlink_to(folder / "secret" / "hidden")
    with codex_obs.init(folder / "runs" / "leaking") as run:
        run.log({"loss": 0.5}, step=1)
    (folder / "runs" / "leaking" / "metrics.ndjson").unlink()
    (folder / "runs" / "leaking" / "metrics.ndjson").symlink_to(folder / "secret" / "hidden" / "metrics.ndjson")
    return folder


@pytest.fixture(scope="module")
def page(place: Path) -> Iterator[Page]:
    with served("runs", cwd=place) as page:
        yield page


def test_the_address_has_a_token_and_leads_to_the_page(page: Page) -> None:
    assert page.address == f"http://127.0.0.1:{page.port}/{page.token}/"
    assert len(page.token) >= 20
    status, content = page.ask(f"/{page.token}/")
    assert (status, content[:15]) == (200, b"<!doctype html>")


@pytest.mark.parametrize(
    "path",
    ["/", "/index.html", "/api/runs", "//api/runs", "/wrong/api/runs", "/{token}x/", "/{short}/", "/wrong/../{token}/"],
)
def test_without_the_token_there_is_nothing(page: Page, path: str) -> None:
    status, content = page.ask(path.format(token=page.token, short=page.token[:-1]))
    assert status == 403
    assert b"first" not in content


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST", "127.0.0.1", "[::1]", "localhost:1", "127.0.0.1:65000"])
def test_a_name_of_this_machine_is_answered_at_any_port(page: Page, host: str) -> None:
    assert page.ask(f"/{page.token}/api/runs", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:7117",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "192.168.0.1",
        "0.0.0.0",
        "",
        "localhost:x",
    ],
)
def test_a_name_that_was_led_to_this_machine_is_refused(page: Page, host: str) -> None:
    assert page.ask(f"/{page.token}/api/runs", {"Host": host})[0] in {400, 403}


def test_a_request_without_a_host_is_refused(page: Page) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=DEADLINE_S)
    connection.putrequest("GET", f"/{page.token}/api/runs", skip_host=True)
    connection.endheaders()
    assert connection.getresponse().status in {400, 403}
    connection.close()


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:1", "http://localhost", "file://", ""]
)
def test_another_origin_is_refused(page: Page, origin: str) -> None:
    assert page.ask(f"/{page.token}/api/runs", {"Origin": origin})[0] == 403


def test_the_page_s_own_origin_is_answered(page: Page) -> None:
    assert page.ask(f"/{page.token}/api/runs", {"Origin": f"http://127.0.0.1:{page.port}"})[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_site_may_lead_to_the_page_but_not_take_parts_of_it(page: Page, site: str) -> None:
    part = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "script"}
    frame = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}
    visit = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert [page.ask(f"/{page.token}/", headers)[0] for headers in (part, frame, visit)] == [403, 403, 200]


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(page: Page, method: str) -> None:
    assert page.ask(f"/{page.token}/api/runs", method=method)[0] == 405


@pytest.mark.parametrize(
    "name",
    [
        "../secret/hidden",
        "..",
        ".",
        "/",
        "first/../../secret/hidden",
        "%2e%2e/secret/hidden",
        "linked",
        "leaking",
        "",
        "first\0",
        "x" * 9000,
    ],
)
@pytest.mark.parametrize("what", ["names", "run", "pixels", "values", "system", "spans"])
def test_no_run_outside_of_the_folders_is_read(page: Page, what: str, name: str) -> None:
    status, content = page.get(what, run=name, metric="loss")
    assert status in {404, 414, 400}
    assert b"0.5" not in content


def test_a_run_that_leads_out_is_listed_with_the_reason_alone(page: Page) -> None:
    runs = {run["key"]: run for run in page.json("runs")["runs"]}
    assert runs["first"]["rows"] == 1
    for key in {"leaking", "linked"} & runs.keys():
        assert set(runs[key]) == {"key", "problem"}
        assert "symbolic link" in runs[key]["problem"]
    assert "leaking" in runs


@pytest.mark.parametrize(
    "path",
    [
        "../index.html",
        "..%2f..%2fpyproject.toml",
        "%2e%2e/__init__.py",
        "static/../../_app.py",
        "/etc/passwd",
        "_app.py",
        "..",
    ],
)
def test_no_file_beside_the_page_s_own_is_given(page: Page, path: str) -> None:
    status, content = page.ask(f"/{page.token}/{path}")
    assert status in {403, 404}
    assert b"import" not in content


def test_every_answer_forbids_strangers_scripts_and_frames(page: Page) -> None:
    for path in (
        f"/{page.token}/",
        f"/{page.token}/main.js",
        f"/{page.token}/api/runs",
        "/wrong/",
        f"/{page.token}/nothing",
    ):
        connection = http.client.HTTPConnection("127.0.0.1", page.port, timeout=DEADLINE_S)
        connection.request("GET", path)
        headers = connection.getresponse().headers
        connection.close()
        policy = dict(part.strip().partition(" ")[::2] for part in headers["content-security-policy"].split(";"))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
        assert policy["frame-ancestors"] == "'none'"
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "access-control-allow-origin" not in headers


def test_only_this_machine_can_reach_it(page: Page) -> None:
    listening = subprocess.run(["ss", "-ltnH"], capture_output=True, text=True, check=False)
    if listening.returncode:
        pytest.skip("needs ss")
    assert {line.split()[3] for line in listening.stdout.splitlines() if line.split()[3].endswith(f":{page.port}")} == {
        f"127.0.0.1:{page.port}"
    }


def test_wrong_questions_are_answered_with_words(page: Page) -> None:
    for what, query in (
        ("pixels", {"run": "first", "metric": "loss", "axis": "up"}),
        ("pixels", {"run": "first", "metric": "loss", "start": "nan"}),
        ("pixels", {"run": "first", "metric": "loss", "start": "1e300"}),
        ("pixels", {"run": "first", "metric": "loss", "axis": "time", "start": "9e14"}),
        ("pixels", {"run": "first", "metric": "loss", "axis": "relative", "stop": "-9e14"}),
        ("pixels", {"run": "first", "metric": "loss", "pixels": "many"}),
        ("names", {}),
        ("runs", {"where": "no condition"}),
        ("runs", {"sort": "nothing"}),
    ):
        status, content = page.get(what, **query)
        assert status in {400, 422}, (what, query)
        assert b"problem" in content


def test_an_interrupt_ends_it_quietly(place: Path) -> None:
    with served("runs", cwd=place) as page:
        page.process.send_signal(signal.SIGINT)
        words = page.process.communicate(timeout=DEADLINE_S)
        assert (page.process.returncode, words) == (0, ("", "Showing runs. Ctrl-C ends it.\n"))


def test_a_port_that_is_taken_and_a_folder_that_is_none_are_named(page: Page, place: Path) -> None:
    taken = start("view", "runs", "--port", str(page.port), cwd=place)
    assert (taken.returncode, taken.stdout) == (1, "")
    assert f"Port {page.port}" in taken.stderr
    none = start("view", "nothing", cwd=place)
    assert (none.returncode, none.stdout) == (2, "")
    assert "nothing is no folder" in none.stderr


def test_a_question_may_name_hundreds_of_runs(page: Page) -> None:
    assert page.get("names", run=["first", *(f"{place:0200}" for place in range(450))])[0] == 404
    assert page.get("names", run=[str(place) for place in range(501)])[0] == 400
