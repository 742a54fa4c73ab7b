"""Spans through a real collector, rotel: what it passes on is what was made, and a second delivery is the same."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import telemetry
from collector import DEADLINE_S, Collector, attributes, eventually
from command import start

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
# Where `make rotel` installs it; else the variable names the program.
PROGRAM = "CODEX_OBS_TEST_ROTEL"
_INSTALLED = next(iter(sorted(ROOT.glob(".venv-rotel/lib/python*/site-packages/rotel/rotel-agent"))), None)
AGENT = Path(os.environ[PROGRAM]) if PROGRAM in os.environ else _INSTALLED

pytestmark = pytest.mark.skipif(AGENT is None, reason="needs rotel: make rotel")


@pytest.fixture(autouse=True)
def _nothing_is_configured() -> Iterator[None]:
    telemetry.configure({})
    yield
    telemetry.configure({})


@pytest.fixture
def behind() -> Iterator[Collector]:
    """Give what stands behind the collector, and decodes what that sends."""
    with Collector() as collector:
        yield collector


@pytest.fixture
def rotel(behind: Collector, tmp_path: Path) -> Iterator[str]:
    """Give the address of a collector that passes on what it takes."""
    with socket.create_server(("127.0.0.1", 0)) as http, socket.create_server(("127.0.0.1", 0)) as grpc:
        ports = [listener.getsockname()[1] for listener in (http, grpc)]
    options = {
        "--otlp-http-endpoint": f"127.0.0.1:{ports[0]}",
        "--otlp-grpc-endpoint": f"127.0.0.1:{ports[1]}",
        "--exporter": "otlp",
        "--otlp-exporter-protocol": "http",
        "--otlp-exporter-endpoint": behind.uri,
        "--pid-file": str(tmp_path / "rotel.pid"),
        "--log-file": str(tmp_path / "rotel.log"),
    }
    command = [str(AGENT), "start", *(word for option in options.items() for word in option)]
    with (tmp_path / "rotel.out").open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, cwd=tmp_path)
    try:

        def answers() -> bool:
            assert process.poll() is None, (tmp_path / "rotel.out").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", ports[0])) == 0

        eventually(answers)
        yield f"http://127.0.0.1:{ports[0]}"
    finally:
        process.terminate()
        process.wait(DEADLINE_S)


def test_a_real_collector_takes_spans_and_passes_on_what_was_made(
    rotel: str, behind: Collector, tmp_path: Path
) -> None:
    telemetry.configure({"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": rotel})
    with codex_obs.init(tmp_path / "run", name="demo") as run:
        with telemetry.thread("t-1"):
            for number in range(1000):
                with telemetry.span("step", number=number, nested={"a": [number]}) as span:
                    span.event("half", k="v")
            with pytest.raises(ZeroDivisionError), telemetry.tool("x"):
                raise ZeroDivisionError
        frame = telemetry.read(run)
        assert run.close(DEADLINE_S)
    assert (run.stats()["spans_exported"], run.stats()["spans_rejected"]) == (1002, 0)
    behind.wait_for(lambda: len(behind.spans) == 1002)
    made = {(row["trace_id"], row["span_id"]): row for row in frame.iter_rows(named=True)}
    found = behind.unique()
    assert set(found) == set(made)
    assert behind.resource["codex_obs.run_id"] == run.run_id
    for ids, sent in found.items():
        assert (sent.name, sent.parent_span_id.hex() or None) == (made[ids]["name"], made[ids]["parent_span_id"])
        assert sent.status.code == (2 if sent.name == "codex.tool x" else 1)
    steps = {int(str(attributes(sent)["number"])): sent for sent in found.values() if sent.name == "step"}
    assert sorted(steps) == list(range(1000))
    assert [(event.name, attributes(event)) for event in steps[7].events] == [("half", {"k": "v"})]

    # Delivered anew, each is the same to the byte.
    for progress in (run.path / ".codex_obs").glob("export-main-*.json"):
        progress.unlink()
    done = start("sync", run.path, "--to", "otlp", "--uri", rotel, cwd=tmp_path)
    assert (done.returncode, done.stdout.strip().rpartition(": ")[2]) == (0, "1,002 spans delivered to otlp"), done
    behind.wait_for(lambda: len(behind.spans) == 2004)
    assert all(sent == found[sent.trace_id.hex(), sent.span_id.hex()] for sent in behind.spans)
