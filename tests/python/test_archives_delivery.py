"""Archives and destinations: a delivery resumes where it was; one that lags keeps rows up to a limit."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import codex_obs
from packed import content, logs

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

SMALL: dict[str, Any] = {"max_shard_bytes": 8192, "backup_count": 1}
ROWS = 1000


def sync(directory: Path, uri: str, *more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "codex_obs", "sync", str(directory), "--uri", uri, *more]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def log(directory: Path, steps: range, **settings: Any) -> codex_obs.Run:
    run = codex_obs.init(directory, **{**SMALL, **settings})
    for step in steps:
        run.log({"loss": step / 2}, step=step)
        if step % 50 == 0:
            run.flush()
    # A destination that is away is not waited for.
    run.close(5.0)
    return run


def archives(directory: Path) -> list[Path]:
    return [path for path in logs(directory)["metrics.ndjson"] if ".archive-" in path.name]


def test_a_delivery_beside_packing_and_one_from_archives_miss_and_repeat_nothing(tracking: Any, tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path, **SMALL)
    done = threading.Event()

    def write() -> None:
        for step in range(ROWS):
            run.log({"loss": step / 2}, step=step)
            if step % 100 == 0:
                run.flush()
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    # The cursor stands in shards that are packed before the next delivery goes on from there.
    while not done.is_set():
        told = sync(tmp_path, tracking.uri)
        assert told.returncode == 0, told.stderr
    writer.join()
    run.close()
    assert len(archives(tmp_path)) > 10
    log(tmp_path, range(ROWS, ROWS + 200))
    assert sync(tmp_path, tracking.uri).returncode == 0
    assert [step for *_, step in tracking.points()] == list(range(ROWS + 200))
    sent = [metric for name, body in tracking.calls if name.endswith("log-batch") for metric in body.get("metrics", [])]
    assert len(sent) == ROWS + 200, "nothing was sent twice"


def test_what_a_lagging_destination_lacks_outlives_the_limit_until_its_own(
    tracking: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tracking.refusal = 503, "it is down"
    lag: dict[str, Any] = {
        "mlflow_tracking_uri": tracking.uri,
        "archive_max_bytes": 1,
        "max_unexported_shards": 20,
    }
    # Some fifteen shards: as many as one archive and twenty more may be.
    run = log(tmp_path, range(450), **lag)
    assert (run.stats()["rows_retired"], run.stats()["rows_retired_undelivered"]) == (0, 0)
    assert codex_obs.read(tmp_path).height == 450
    assert 5 < len(archives(tmp_path)) < 20
    assert "has begun to delete" not in caplog.text
    # Far more of them: what is beyond that goes, is counted, and is said once with what it was.
    run = log(tmp_path, range(450, 2000), **lag)
    stats = run.stats()
    gone = stats["rows_retired"]
    left = codex_obs.read(tmp_path)
    assert gone == stats["rows_retired_undelivered"] == 2000 - left.height > 500
    assert left["step"].to_list() == list(range(gone, 2000))
    assert 15 < len(archives(tmp_path)) <= 22
    (warning,) = [message for message in caplog.messages if "max_unexported_shards" in message]
    assert "not delivered yet" in warning
    records = map(json.loads, content(tmp_path, "run.ndjson").splitlines())
    last = [record for record in records if record["record"] == "retired"][-1]
    assert (last["file"], last["rows"], last["rows_undelivered"]) == ("metrics", gone, gone)
    assert f"{gone} rows were deleted by retention" in caplog.text
    summary = [json.loads(line) for line in content(tmp_path, "tracking_summary.ndjson").splitlines()]
    assert [line["extra"]["undelivered"] > 0 for line in summary if line["extra"].get("cause") == "retired"] == [True]
    # The server comes back: it gets what is left, and hears how many rows it will never have.
    tracking.refusal = None
    told = sync(tmp_path, tracking.uri)
    assert told.returncode == 1
    assert f"{gone:,} rows were deleted before delivery" in told.stderr
    assert [step for *_, step in tracking.points()] == list(range(gone, 2000))
    # Nothing lags any more, so that the limit alone counts.
    log(tmp_path, range(2000, 2010), archive_max_bytes=1)
    assert len(archives(tmp_path)) <= 2
