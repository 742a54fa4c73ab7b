"""`codex-ndjson sync`: what was never sent, was sent in part, or is being written now."""

from __future__ import annotations

import gzip
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

from faults.tally import ACCEPTED, Tally, wait_until
from rig.case import remote_runs, stored_points
from rig.comparison import NONE, differences, expected_points
from rig.proxy import Proxy
from rig.trainer import COMMAND, environment, start, sync, train, try_sync

if TYPE_CHECKING:
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

pytestmark = pytest.mark.mlflow
DEADLINE_S = 120.0
METRICS = ["loss", "acc", "größe"]


def offline(run_dir: Path, calls: int = 300, **options: object) -> None:
    train({"directory": str(run_dir), "metrics": METRICS, "calls": calls, "odd_values": True, "options": options})


def test_a_run_that_never_had_a_server_is_delivered(server: Server, run_dir: Path) -> None:
    offline(run_dir)
    sync(run_dir, "--to", "mlflow", "--uri", server.uri)
    (run,) = remote_runs(server.port, run_dir)
    assert run["info"]["status"] == "FINISHED"
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE


def test_a_second_time_sends_no_metric(server: Server, run_dir: Path) -> None:
    offline(run_dir)
    with Proxy(server.port) as proxy:
        sync(run_dir, "--to", "mlflow", "--uri", proxy.uri)
        first = len(proxy.calls())
        sync(run_dir, "--to", "mlflow", "--uri", proxy.uri)
        again = [request for request in proxy.calls()[first:] if request.json().get("metrics")]
    assert first >= 1
    assert again == []


def test_a_dry_run_sends_nothing_and_says_how_much_there_is(run_dir: Path) -> None:
    offline(run_dir)
    before = {path: path.read_bytes() for path in run_dir.glob("*.*") if path.is_file()}
    words = sync(run_dir, "--to", "mlflow", "--uri", "http://127.0.0.1:9", "--dry-run")
    assert "900" in words
    assert {path: path.read_bytes() for path in run_dir.glob("*.*") if path.is_file()} == before


def test_several_runs_go_at_once(server: Server, tmp_path: Path) -> None:
    directories = [tmp_path / name for name in ("one", "two")]
    for directory in directories:
        offline(directory, 20)
    sync(*directories, "--to", "mlflow", "--uri", server.uri)
    for directory in directories:
        assert differences(stored_points(server.port, directory), expected_points(directory)) == NONE


def test_a_run_of_the_server_can_be_named(server: Server, client: Client, run_dir: Path) -> None:
    offline(run_dir)
    remote = client.create_run()
    sync(run_dir, "--to", "mlflow", "--uri", server.uri, "--run-id", remote)
    assert differences(client.points(remote), expected_points(run_dir)) == NONE


def test_the_run_of_another_log_is_not_taken_over(server: Server, run_dir: Path, tmp_path: Path) -> None:
    offline(tmp_path / "other", 10)
    offline(run_dir, 20)
    sync(tmp_path / "other", "--uri", server.uri)
    (before,) = remote_runs(server.port, tmp_path / "other")
    status, words = try_sync(run_dir, "--uri", server.uri, "--run-id", before["info"]["run_id"])
    assert status == 1
    assert "is that of another run" in words
    assert remote_runs(server.port, tmp_path / "other") == [before]
    assert differences(stored_points(server.port, tmp_path / "other"), expected_points(tmp_path / "other")) == NONE
    assert remote_runs(server.port, run_dir) == []


def test_from_another_address_the_last_new_run_is_found(server: Server, run_dir: Path) -> None:
    offline(run_dir, 10)
    made = []
    for option in ([], ["--new-run"], ["--new-run"], ["--new-run"]):
        before = {run["info"]["run_id"] for run in remote_runs(server.port, run_dir)}
        sync(run_dir, "--uri", server.uri, *option)
        made += [
            run["info"]["run_id"] for run in remote_runs(server.port, run_dir) if run["info"]["run_id"] not in before
        ]
    assert len(made) == 4
    with Proxy(server.port) as proxy:
        assert f"to MLflow run {made[-1]}; " in sync(run_dir, "--uri", proxy.uri)
    assert len(remote_runs(server.port, run_dir)) == 4


def test_rotated_and_packed_shards_are_delivered(server: Server, run_dir: Path) -> None:
    offline(run_dir, 2000, max_shard_bytes=100_000, backup_count="all")
    shards = sorted(run_dir.glob("metrics.ndjson.*"))
    assert len(shards) > 5
    for shard in shards[::2]:
        shard.with_name(f"{shard.name}.gz").write_bytes(gzip.compress(shard.read_bytes()))
        shard.unlink()
    sync(run_dir, "--to", "mlflow", "--uri", server.uri)
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE


def test_what_was_sent_in_part_goes_on_where_it_stopped(server: Server, run_dir: Path) -> None:
    offline(run_dir, 5000)
    with Proxy(server.port) as proxy:
        command = [*COMMAND, "sync", str(run_dir), "--to", "mlflow", "--uri", proxy.uri]
        first = subprocess.Popen(command, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(lambda: len(proxy.calls()) >= 5, DEADLINE_S, "five batches")
        first.send_signal(signal.SIGKILL)
        first.wait(DEADLINE_S)
        begun = len(proxy.calls())
        sync(run_dir, "--to", "mlflow", "--uri", proxy.uri)
        sizes = [len(request.json().get("metrics", [])) for request in proxy.calls()[begun:]]
    assert sum(sizes) < 15_000
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE


def test_a_run_being_written_can_be_followed(server: Server, run_dir: Path, tmp_path: Path) -> None:
    tally = Tally(tmp_path / "tally")
    told = {"directory": str(run_dir), "metrics": METRICS, "calls": 600, "calls_per_s": 100, "tally": str(tally.path)}
    trainer = start("trainer", told)
    wait_until(lambda: tally[ACCEPTED] > 0, DEADLINE_S, "the first call")
    command = [*COMMAND, "sync", str(run_dir), "--to", "mlflow", "--uri", server.uri]
    follower = subprocess.Popen(
        [*command, "--follow"], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    wait_until(lambda: stored_points(server.port, run_dir).height > 0, DEADLINE_S, "the first value")
    assert trainer.poll() is None or tally[ACCEPTED] == 600
    trainer.communicate(timeout=DEADLINE_S)
    output, errors = follower.communicate(timeout=DEADLINE_S)
    assert follower.returncode == 0, output + errors
    assert differences(stored_points(server.port, run_dir), expected_points(run_dir)) == NONE
    (run,) = remote_runs(server.port, run_dir)
    assert run["info"]["status"] == "FINISHED"


def test_files_that_no_run_wrote_are_refused_in_one_sentence(run_dir: Path) -> None:
    run_dir.mkdir()
    (run_dir / "metrics.ndjson").write_text('{"key":"loss","value":0.5,"step":1}\n')
    status, words = try_sync(run_dir, "--to", "mlflow", "--uri", "http://127.0.0.1:9")
    assert status != 0
    assert "run.json" in words
    assert "Traceback" not in words


def test_a_directory_without_a_run_is_an_error_in_one_sentence(tmp_path: Path) -> None:
    command = [*COMMAND, "sync", str(tmp_path / "none"), "--to", "mlflow"]
    done = subprocess.run(
        [*command, "--uri", "http://127.0.0.1:9"], env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
