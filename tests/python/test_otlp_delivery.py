"""Spans at a collector: what arrives, what a collector that misbehaves changes, and what a kill costs."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest
import trustme
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

import codex_obs
from codex_obs import _backend, _export, telemetry
from codex_obs.destinations import otlp
from collector import DEADLINE_S, Collector, attributes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path
    from typing import TypeAlias

    from codex_obs._backend import StreamOutcome

    Misbehaviour: TypeAlias = Callable[[Any, int], bool]

SECRET = "canary-" + "90b1d4"
OURS = ("CODEX_OTLP_", "OTEL_")


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(OURS) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    telemetry.configure({})


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as collector:
        yield collector


def on(collector: Collector, **more: str) -> dict[str, str]:
    return {"CODEX_OTLP_ENABLE": "1", "CODEX_OTLP_ENDPOINT": collector.uri, **more}


def instead(answer: Callable[[Any], object], *, only_first: bool = False, is_all: bool = True) -> Misbehaviour:
    """Have a collector do something else with requests; not `is_all`, it then takes what it is sent."""

    def misbehave(handler: Any, number: int) -> bool:
        if only_first and number:
            return False
        answer(handler)
        return is_all

    return misbehave


def sync(path: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codex_obs", "sync", str(path), "--to", "otlp", *options]
    return subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )


def deliver(path: Path, variables: dict[str, str], *, gives_up: bool = False, timeout_s: float = 3.0) -> StreamOutcome:
    """Deliver in this process what is left, as `sync` does. Without patience it ends at the first trouble."""
    settings = codex_obs.Settings(export_timeout_s=timeout_s)
    destination = _export.otlp(settings, otlp.read(variables))
    assert destination is not None
    ends = time.monotonic() + DEADLINE_S
    (outcome,) = _backend.sync(
        str(path),
        destination,
        progress=lambda told: time.monotonic() < ends and not (gives_up and told.waiting is not None),
    )
    return outcome


def test_a_span_arrives_as_it_was(collector: Collector, tmp_path: Path) -> None:
    telemetry.configure(on(collector, OTEL_SERVICE_NAME="svc"))
    with codex_obs.init(tmp_path / "run", name="demo") as run:
        with telemetry.thread("t-1"):
            with telemetry.span(
                "n", text="ü", flag=True, n=2**40, x=0.5, many=[1, 2], nested={"a": 1}, no=None
            ) as span:
                span.event("e", k="v")
            with pytest.raises(ZeroDivisionError), telemetry.tool("x", server="s"):
                raise ZeroDivisionError
        frame = telemetry.read(run)
    assert run.stats()["spans_exported"] == 3
    assert {name: collector.resource[name] for name in ("service.name", "codex_obs.run_id", "codex_obs.run_name")} == {
        "service.name": "svc",
        "codex_obs.run_id": run.run_id,
        "codex_obs.run_name": "demo",
    }
    of_n = frame.filter(frame["name"] == "n")
    row = of_n.row(0, named=True)
    sent = collector.named("n")
    assert (sent.trace_id.hex(), sent.span_id.hex()) == (row["trace_id"], row["span_id"])
    assert sent.parent_span_id.hex() == row["parent_span_id"]
    start, end = of_n.select(pl.col("start", "end").cast(pl.Int64)).row(0)
    assert (sent.start_time_unix_nano, sent.end_time_unix_nano) == (start, end)
    found = attributes(sent)
    assert {key: found[key] for key in ("text", "flag", "n", "x", "many", "nested")} == {
        "text": "ü",
        "flag": True,
        "n": 2**40,
        "x": 0.5,
        "many": [1, 2],
        "nested": '{"a":1}',
    }
    assert "no" not in found
    assert [(event.name, attributes(event)) for event in sent.events] == [("e", {"k": "v"})]
    failed = collector.named("codex.mcp.tool_call x")
    assert (failed.status.code, failed.status.message, failed.kind) == (2, "ZeroDivisionError", 3)
    assert collector.named("codex.thread").parent_span_id == b""
    assert {headers["content-encoding"] for headers in collector.headers} == {"gzip"}
    assert set(collector.paths) == {"/v1/traces"}


def test_what_was_logged_without_a_collector_goes_out_later_and_once(collector: Collector, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run"):
        for number in range(1300):
            with telemetry.span(f"s{number}"):
                pass
    done = sync(tmp_path / "run", on(collector))
    assert (done.returncode, done.stdout.strip().rpartition(": ")[2]) == (0, "1,300 spans delivered to otlp"), done
    assert (len(collector.spans), len(collector.unique())) == (1300, 1300)
    assert max(len(body) for body in collector.bodies) < 1_000_000
    assert len(collector.bodies) >= 3
    again = sync(tmp_path / "run", on(collector))
    assert (again.returncode, again.stdout.strip().rpartition(": ")[2]) == (0, "nothing new for otlp"), again
    assert len(collector.spans) == 1300


def test_a_dry_run_counts_spans_and_sends_none(collector: Collector, tmp_path: Path) -> None:
    program = """
import codex_obs, os, sys
from codex_obs import telemetry
codex_obs.init(sys.argv[1])
for number in range(700):
    with telemetry.span("ended"):
        pass
with telemetry.thread("private", tracing_disabled=True), telemetry.span("inside"):
    pass
telemetry.span("open").__enter__()
os._exit(0)
"""
    run = tmp_path / "run"
    subprocess.run([sys.executable, "-c", program, str(run)], check=True, timeout=DEADLINE_S)
    done = sync(run, on(collector), "--dry-run")
    words = f"{run}: 701 spans would be delivered to otlp\n"
    assert (done.returncode, done.stdout, collector.spans) == (0, words, []), done
    (result,) = json.loads(sync(run, on(collector), "--dry-run", "--json").stdout)
    assert (result["dry_run"], result["spans"], result["delivered"]) == (True, 701, 0)
    assert json.loads(sync(run, on(collector), "--json").stdout)[0]["spans"] == len(collector.spans) == 701
    assert sync(run, on(collector), "--dry-run").stdout == f"{run}: 0 spans would be delivered to otlp\n"


def test_a_disabled_thread_stays_at_home(collector: Collector, tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run"):
        with telemetry.thread("private", tracing_disabled=True), telemetry.span("inside"):
            pass
        with telemetry.span("public"):
            pass
    assert deliver(tmp_path / "run", on(collector)).done
    assert [span.name for span in collector.spans] == ["public"]
    assert telemetry.read(tmp_path / "run").height == 3


def test_a_run_is_opened_for_the_first_event_if_spans_go_to_a_collector(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    telemetry.configure(on(collector))
    with telemetry.span("first"):
        pass
    run = codex_obs.current_run()
    assert run is not None
    assert run.path.parent == tmp_path / "runs"
    run.close()
    assert [span.name for span in collector.spans] == ["first"]


# What a collector may do to a request, whether that is tried again until it works, and what is said where it is not.
def _status(status: int, body: bytes = b"no", **headers: str) -> Callable[[Any], None]:
    return lambda handler: handler.answer(status, body, **headers)


def _hang_up(handler: Any) -> None:
    handler.close_connection = True
    handler.connection.close()


def _garbage(handler: Any) -> None:
    handler.wfile.write(b"\x00\x01 not HTTP\r\n\r\n")
    handler.close_connection = True


def _half(handler: Any) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
    handler.close_connection = True


def _lost_answer(handler: Any) -> None:
    handler.keep(handler.server.bodies[-1])
    _hang_up(handler)


def _silent(handler: Any) -> None:
    time.sleep(1.5)
    handler.close_connection = True


FAULTS: dict[str, Callable[[Any], None]] = {
    "429": _status(429),
    "429 with a pause": _status(429, Retry_After="1"),
    "503": _status(503),
    "503 with a pause": _status(503, Retry_After="1"),
    "502": _status(502),
    "504": _status(504),
    "408": _status(408),
    "500": _status(500),
    "501": _status(501),
    "refuses a connection midway": _hang_up,
    "speaks no HTTP": _garbage,
    "ends in the middle of an answer": _half,
    "answers nothing": _silent,
    "loses the answer": _lost_answer,
}
# Only a person can help: it waits, and says why.
WAITS: dict[str, tuple[Callable[[Any], None], str]] = {
    "302": (_status(302, Location="http://127.0.0.1:9/"), "redirect (status 302)"),
    "307": (_status(307, Location="http://127.0.0.1:9/"), "redirect (status 307)"),
    "401": (_status(401), "refused access"),
    "403": (_status(403), "refused access"),
    "404": (_status(404), "does not look like an OTLP collector"),
    "a page with status 200": (_status(200, b"<html>Sign in</html>"), "does not look like an OTLP collector"),
}


@pytest.fixture
def logged(tmp_path: Path) -> Path:
    with codex_obs.init(tmp_path / "run"):
        for number in range(3):
            with telemetry.span(f"s{number}"):
                pass
    return tmp_path / "run"


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_passes_costs_nothing(fault: str, collector: Collector, logged: Path) -> None:
    collector.misbehave = instead(FAULTS[fault], only_first=True)
    outcome = deliver(logged, on(collector), timeout_s=1)
    assert (outcome.done, outcome.spans, outcome.rejected) == (True, 3, 0)
    assert len(collector.unique()) == 3
    # At most one batch comes twice, and that with the identical bytes.
    assert len(collector.spans) == (6 if fault == "loses the answer" else 3)
    assert len(set(collector.bodies)) == 1


@pytest.mark.parametrize("fault", WAITS)
def test_a_fault_that_stays_loses_nothing_and_is_said(fault: str, collector: Collector, logged: Path) -> None:
    answer, words = WAITS[fault]
    collector.misbehave = instead(answer)
    outcome = deliver(logged, on(collector), gives_up=True)
    assert not outcome.done
    assert words in str(outcome.problem)
    assert collector.spans == []
    collector.misbehave = None
    assert deliver(logged, on(collector)).done
    assert len(collector.spans) == 3


def test_a_span_that_is_refused_for_good_costs_one_span(collector: Collector, logged: Path) -> None:
    def misbehave(handler: Any, _: int) -> bool:
        before = len(collector.spans)
        handler.keep(collector.bodies[-1])
        taken, collector.spans[before:] = collector.spans[before:], []
        if any(span.name == "s1" for span in taken):
            handler.answer(400, b"bad span")
        else:
            collector.spans.extend(taken)
            handler.answer(200)
        return True

    collector.misbehave = misbehave
    outcome = deliver(logged, on(collector))
    assert (outcome.done, outcome.spans, outcome.rejected) == (True, 2, 1)
    assert sorted(span.name for span in collector.spans) == ["s0", "s2"]
    assert (
        '"kind":"span","name":"s1","status":400,"reason":"bad span"' in (logged / "export_rejected.ndjson").read_text()
    )


def test_a_partial_success_is_counted(collector: Collector, tmp_path: Path) -> None:
    response = ExportTraceServiceResponse()
    response.partial_success.rejected_spans = 2
    response.partial_success.error_message = "too old"
    collector.misbehave = instead(_status(200, response.SerializeToString()))
    telemetry.configure(on(collector))
    with codex_obs.init(tmp_path / "run") as run:
        for _ in range(3):
            with telemetry.span("s"):
                pass
    stats = run.stats()
    assert (stats["spans_exported"], stats["spans_rejected"]) == (1, 2)


def test_other_programs_settings_have_no_effect_and_secrets_are_nowhere(
    collector: Collector, tmp_path: Path, logged: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    (home / ".netrc").write_text("machine 127.0.0.1 login netrc password netrc\n")
    environment = on(
        collector,
        CODEX_OTLP_HEADERS=f"Authorization=Bearer%20{SECRET},x-key={SECRET}-2",
        OTEL_EXPORTER_OTLP_HEADERS="authorization=theirs,x-other=1",
        HOME=str(home),
        REQUESTS_CA_BUNDLE="/nowhere",
        CURL_CA_BUNDLE="/nowhere",
    )
    collector.misbehave = lambda handler, number: (
        number == 0 and (handler.answer(403, f"no, {SECRET} is wrong".encode()) or True)
    )
    done = sync(logged, environment, "--patience", "0.2")
    assert done.returncode != 0
    again = sync(logged, environment, "--json")
    assert again.returncode == 0, again
    for headers in collector.headers:
        assert (headers["authorization"], headers["x-key"]) == (f"Bearer {SECRET}", f"{SECRET}-2")
        assert "x-other" not in headers
    written = "".join(path.read_text(errors="replace") for path in logged.rglob("*") if path.is_file())
    assert SECRET not in done.stdout + done.stderr + again.stdout + again.stderr + written


def test_mutual_tls_with_files_of_ones_own(tmp_path: Path, logged: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue_cert("client@example.org")
    for name, blob in (
        ("ca", authority.cert_pem),
        ("cert", client.cert_chain_pems[0]),
        ("key", client.private_key_pem),
    ):
        blob.write_to_path(str(tmp_path / f"{name}.pem"))
    files = {
        "CODEX_OTLP_CACERTFILE": str(tmp_path / "ca.pem"),
        "CODEX_OTLP_CERTFILE": str(tmp_path / "cert.pem"),
        "CODEX_OTLP_KEYFILE": str(tmp_path / "key.pem"),
    }
    with Collector(tls=context) as collector:
        only_authority = on(collector, CODEX_OTLP_CACERTFILE=files["CODEX_OTLP_CACERTFILE"])
        assert not deliver(logged, only_authority, gives_up=True).done
        assert "no trusted connection" in str(deliver(logged, on(collector), gives_up=True).problem)
        assert collector.spans == []
        assert deliver(logged, on(collector, **files)).done
        assert len(collector.spans) == 3


@pytest.mark.parametrize("state", ["lags", "takes"])
def test_retention_spares_shards_of_telemetry_that_a_collector_has_not_got_and_none_for_it_of_rows(
    state: str, collector: Collector, run_dir: Path
) -> None:
    lags = state == "lags"
    if lags:
        collector.misbehave = instead(lambda handler: handler.send_error(503))
    telemetry.configure(on(collector))
    small: dict[str, Any] = {"max_shard_bytes": 20_000, "backup_count": 1, "archive": "none", "fsync": "never"}
    count = 300
    with codex_obs.init(run_dir, **small) as run:
        for number in range(count):
            with run.span(f"s{number}"):
                run.log({"loss": 0.5}, step=number)
            if not lags and number % 50 == 49:
                assert run.flush(60)
                seen = number + 1
                collector.wait_for(lambda seen=seen: len(collector.unique()) >= seen)  # type: ignore[misc]
        assert run.flush(60)
    shards = len(list(run_dir.glob("telemetry.ndjson*")))
    rows = len(list(run_dir.glob("metrics.ndjson*")))
    assert rows == 2, "the collector needs none of them"
    if not lags:
        # Old shards are looked at when the next one is full, and the last fifty spans may have come in late.
        assert shards < 10
        assert len(collector.unique()) == count
        return
    assert shards > 10
    # Another session promises nothing of its own, and keeps what the first one did.
    telemetry.configure({})
    with codex_obs.init(run_dir, **small) as run:
        for number in range(count, 2 * count):
            with run.span(f"s{number}"):
                run.log({"loss": 0.5}, step=number)
        assert run.flush(60)
    assert len(list(run_dir.glob("metrics.ndjson*"))) == 2
    collector.misbehave = None
    outcome = deliver(run_dir, on(collector))
    assert outcome.done
    assert {span.name for span in collector.unique().values()} >= {f"s{number}" for number in range(count)}
