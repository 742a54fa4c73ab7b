"""Every value arrives once, as MLflow reads it, whatever happens to the server meanwhile."""

from __future__ import annotations

import signal
import threading
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import codex_obs
from faults.tally import ACCEPTED, Tally, wait_until
from rig.case import remote_runs, stored_points
from rig.catalogue import fault_named
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.trainer import report_of, start, sync, train, try_sync

if TYPE_CHECKING:
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

pytestmark = pytest.mark.mlflow

DEADLINE_S = 240.0
# What one exporter may add to the memory of its process: batches in flight, a socket, and the allocator's own habits.
MOST_GROWTH_MIB = 16.0


def told(directory: Path, uri: str, **more: Any) -> dict[str, Any]:
    return {"directory": str(directory), "options": {"mlflow_tracking_uri": uri}, "metrics": ["loss"], **more}


def test_every_value_is_what_mlflow_makes_of_it(either_server: Server, run_dir: Path) -> None:
    values = [0.0, -0.0, 1e-320, 5e-324, 1e308, -1e308, 0.1, 1 / 3, 2.0**53 + 2, 1e22, 123456789.123456789]
    odd = [float("nan"), float("inf"), float("-inf"), True, 7, 10**400, None, "text", [1, 2]]
    with codex_obs.init(run_dir, mlflow_tracking_uri=either_server.uri) as run:
        for step in (0, 1, -1, 2**40, 2**63 - 1, -(2**63)):
            run.log({f"v/{number}": value for number, value in enumerate([*values, *odd])}, step=step)
            run.log({"v/0": 0.25, "größe": 1.5, "with space": 2}, step=step, split="eval")
        assert run.close(60.0)
    expected = expected_points(run_dir)
    assert expected.height == 6 * (len(values) + 6 + 3)
    assert differences(stored_points(either_server.port, run_dir), expected) == NONE


def test_thousands_of_values_are_the_same_at_the_server(either_server: Server, run_dir: Path) -> None:
    names = [f"layer/{number}" for number in range(100)]
    report = train(told(run_dir, either_server.uri, metrics=names, calls=200, odd_values=True, close_s=120.0))
    assert report["stats"]["metrics_exported"] == 20_000
    assert differences(stored_points(either_server.port, run_dir), expected_points(run_dir)) == NONE


def test_an_answer_that_is_lost_leaves_nothing_twice(either_server: Server, run_dir: Path) -> None:
    fault = fault_named("commit, then cut")
    with Proxy(either_server.port, fault.misbehaviour) as proxy:
        train(told(run_dir, proxy.uri, metrics=[f"m{n}" for n in range(20)], calls=50, odd_values=True))
        bodies = [request.body for request in proxy.calls()]
    assert bodies[0] == bodies[1] == bodies[2]
    assert differences(stored_points(either_server.port, run_dir), expected_points(run_dir)) == NONE


def outage(proxy: Proxy, run_dir: Path, tmp_path: Path, seconds: float) -> dict[str, Any]:
    """Log 1,000 metrics a second, and let the server be gone for a while in the middle."""
    rate = 100
    tally = Tally(tmp_path / "tally")
    more = {"calls": round(rate * (seconds + 4)), "calls_per_s": rate, "close_s": 120.0, "tally": str(tally.path)}
    trainer = start("trainer", told(run_dir, proxy.uri, metrics=[f"m{n}" for n in range(10)], **more))
    wait_until(lambda: bool(proxy.calls()), DEADLINE_S, "the first batch")
    proxy.refuse()
    gone_at = tally[ACCEPTED]
    wait_until(lambda: tally[ACCEPTED] >= gone_at + rate * seconds, DEADLINE_S + 2 * seconds, "the outage")
    proxy.listen()
    return report_of(trainer)


@pytest.mark.parametrize("seconds", [5, pytest.param(60, marks=pytest.mark.big)])
def test_an_outage_costs_no_value_and_no_memory(server: Server, run_dir: Path, tmp_path: Path, seconds: int) -> None:
    with Proxy(server.port) as proxy:
        report = outage(proxy, run_dir, tmp_path, seconds)
    stats = report["stats"]
    assert (stats["rows_dropped"], stats["blocked_ns"], stats["metrics_rejected"]) == (0, 0, 0)
    assert stats["metrics_exported"] == stats["rows_written"]
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE
    # The first figures are from before the outage, the last from its end.
    resident = report["resident_mib"]
    assert max(resident) - resident[1] < MOST_GROWTH_MIB


@pytest.mark.big
def test_a_server_that_is_stopped_for_a_minute_gets_everything(server: Server, run_dir: Path, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    more = {"calls": 9000, "calls_per_s": 100, "close_s": 240.0, "tally": str(tally.path)}
    trainer = start("trainer", told(run_dir, server.uri, metrics=[f"m{n}" for n in range(10)], **more))
    wait_until(lambda: bool(remote_runs_or_none(server, run_dir)), DEADLINE_S, "the remote run")
    server.stop()
    gone_at = tally[ACCEPTED]
    wait_until(lambda: tally[ACCEPTED] >= min(gone_at + 6000, 9000), DEADLINE_S, "the outage")
    server.start()
    report = report_of(trainer)
    assert report["stats"]["metrics_exported"] == 90_000
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE


def remote_runs_or_none(server: Server, run_dir: Path) -> list[dict[str, Any]]:
    return remote_runs(server.port, run_dir) if (run_dir / "run.json").exists() else []


def test_a_trainer_killed_in_an_outage_is_delivered_by_sync(server: Server, run_dir: Path, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    with Proxy(server.port) as proxy:
        more = {"calls": 100_000, "calls_per_s": 100, "tally": str(tally.path)}
        trainer = start("trainer", told(run_dir, proxy.uri, metrics=[f"m{n}" for n in range(10)], **more))
        wait_until(lambda: bool(proxy.calls()), DEADLINE_S, "the first batch")
        proxy.refuse()
        gone_at = tally[ACCEPTED]
        wait_until(lambda: tally[ACCEPTED] >= gone_at + 300, DEADLINE_S, "three seconds")
        trainer.send_signal(signal.SIGKILL)
        trainer.communicate(timeout=DEADLINE_S)
        proxy.listen()
        sync(run_dir, "--to", "mlflow", "--uri", proxy.uri)
    accepted = tally[ACCEPTED]
    expected = expected_points(run_dir)
    # The call that the kill interrupted may or may not be in the log.
    assert accepted * 10 <= expected.height <= (accepted + 1) * 10
    assert differences(stored_points(server.port, run_dir), expected) == NONE
    (run,) = remote_runs(server.port, run_dir)
    assert run["info"]["status"] == "KILLED"


def test_what_two_programs_deliver_at_once_arrives_once(server: Server, run_dir: Path) -> None:
    names = [f"m{n}" for n in range(50)]
    train({"directory": str(run_dir), "metrics": names, "calls": 100})
    outcomes: list[tuple[int, str]] = []
    threads = [
        threading.Thread(target=lambda: outcomes.append(try_sync(run_dir, "--to", "mlflow", "--uri", server.uri)))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    # Who comes second is told so, or waits.
    assert [status for status, _ in outcomes].count(0) >= 1
    assert [words for status, words in outcomes if status != 0 and "another process" not in words] == []
    assert len(outcomes) == 2
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE
    assert len(remote_runs(server.port, run_dir)) == 1


@pytest.mark.parametrize("refusal", ["400 that names metrics[i]", "400 that names nothing", "500 for one batch only"])
def test_one_bad_metric_in_ten_thousand_costs_few_requests(server: Server, tmp_path: Path, refusal: str) -> None:
    fault = fault_named(refusal)
    requests = {}
    for bad in (False, True):
        directory = tmp_path / f"bad-{bad}"
        with codex_obs.init(directory) as run:
            for step in range(100):
                run.log({f"m/{number}": step / 3 for number in range(100)}, step=step)
                if bad and step == 42:
                    run.log({"poison": 1.0}, step=step)
        with Proxy(server.port, fault.misbehaviour) as proxy:
            status, words = try_sync(directory, "--to", "mlflow", "--uri", proxy.uri)
            assert status == bad, words
            requests[bad] = len(proxy.calls())
        expected = expected_points(directory).filter(pl.col("key") != "train/poison")
        assert differences(stored_points(server.port, directory), expected) == NONE
        lines = (directory / "export_rejected.ndjson").read_text() if bad else ""
        assert lines.count("\n") == bad
    assert requests[True] <= requests[False] + 20


def test_more_than_a_thousand_waiting_go_out_in_requests_the_server_takes(server: Server, run_dir: Path) -> None:
    with Proxy(server.port) as proxy:
        proxy.refuse()
        uri = proxy.uri
        with codex_obs.init(run_dir, mlflow_tracking_uri=uri) as run:
            run.log({f"m/{number}": float("nan") if number == 7 else number for number in range(2500)}, step=1)
            assert run.flush(30.0)
            proxy.listen()
            assert run.close(60.0)
        sizes = [len(request.json().get("metrics", [])) for request in proxy.calls()]
    assert max(sizes) <= 1000
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE


def test_a_client_without_help_agrees_with_the_comparison(client: Client) -> None:
    run_id = client.create_run()
    points = [("a", 5, 1, 0.5), ("a", 5, 2, float("nan")), ("b", 6, 0, float("inf"))]
    client.log_batch(run_id, points)
    client.log_batch(run_id, points)
    stored = client.points(run_id)
    told = pl.DataFrame([*points[:2], ("b", 6, 0, 1.7976931348623157e308)], schema=stored.schema, orient="row")
    assert stored.sort("key", "step").equals(told)
    assert differences(stored, stored) == NONE
    assert differences(stored, stored.head(1)) == {"missing": 0, "doubled": 0, "foreign": 2}
    assert differences(stored.head(1), stored) == {"missing": 2, "doubled": 0, "foreign": 0}
    assert differences(stored.vstack(stored.head(1)), stored) == {"missing": 0, "doubled": 1, "foreign": 0}
