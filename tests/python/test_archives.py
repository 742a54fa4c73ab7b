"""What rotation no longer keeps as plain files is packed, and read as before; only two settings delete rows."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import polars as pl
import pytest

import codex_obs
from codex_obs import _backend
from packed import content, logs, unpacked

if TYPE_CHECKING:
    from pathlib import Path

SHARD = 20_000
SMALL = {"max_shard_bytes": SHARD, "backup_count": 2}


def log_steps(directory: Path, steps: range, **settings: object) -> codex_obs.Run:
    with codex_obs.init(directory, run_id="r1", **{**SMALL, **settings}) as run:  # type: ignore[arg-type]
        for step in steps:
            run.log({"loss": step * 0.5, "acc": 0.25}, step=step)
    return run


def steps_of(directory: Path) -> list[int]:
    rows = codex_obs.read(directory).filter(pl.col("metric") == "loss")
    assert (rows["value"] == rows["step"] * 0.5).all()
    return rows["step"].to_list()


def names(directory: Path, log: str = "metrics.ndjson") -> list[str]:
    return [path.name.removeprefix(log) for path in logs(directory)[log]]


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = (directory / "run.ndjson").read_text().splitlines()
    return [record for record in map(json.loads, lines) if record["record"] == kind]


def test_old_shards_become_archives_that_anyone_can_unpack_and_no_row_goes(tmp_path: Path) -> None:
    run = log_steps(tmp_path / "all", range(1000), backup_count="all")
    assert run.stats()["shards_packed"] == 0
    run = log_steps(tmp_path / "run", range(1000))
    stats = run.stats()
    assert (stats["rows_retired"], stats["pack_errors"]) == (0, 0)
    files = names(tmp_path / "run")
    packed = [name for name in files if name.endswith(".zst")]
    assert packed == [f".archive-{ordinal:06}.zst" for ordinal in range(1, len(packed) + 1)]
    assert files[len(packed) :] == [".2", ".1", ""]
    assert stats["shards_packed"] >= len(packed) > 5
    assert not [path for path in (tmp_path / "run").iterdir() if path.name.endswith((".archive-new", ".gone"))]
    assert steps_of(tmp_path / "run") == list(range(1000))
    summary = codex_obs.summarize(tmp_path / "run")
    assert summary["count"].to_list() == [1000, 1000]
    assert summary["first_step"].to_list() == [0, 0]
    # The same lines as without packing, but for the times.
    plain, whole = (content(tmp_path / name).splitlines() for name in ("all", "run"))
    untimed = [[{**json.loads(line), "timestamp": ""} for line in lines] for lines in (plain, whole)]
    assert untimed[0] == untimed[1]
    if shutil.which("zstdcat"):
        paths = [tmp_path / "run" / f"metrics.ndjson{name}" for name in packed]
        shown = subprocess.run(["zstdcat", *paths], check=True, capture_output=True).stdout
        assert shown == b"".join(map(unpacked, paths))
        subprocess.run(["zstd", "-t", "-q", *paths], check=True)


def test_a_run_goes_on_behind_its_archives(tmp_path: Path) -> None:
    for session in range(8):
        with codex_obs.init(tmp_path, max_shard_bytes=2000, backup_count=1) as run:
            for _ in range(20):
                run.log({"loss": 1.0})
        assert codex_obs.read(tmp_path)["step"].to_list() == list(range(20 * (session + 1)))
    # Nothing but archives is left of the rows, and no note of their largest step: it is known without unpacking.
    for name in ("metrics.ndjson", "metrics.ndjson.1", "run.ndjson"):
        (tmp_path / name).unlink()
    largest = codex_obs.read(tmp_path)["step"].to_list()[-1]
    with codex_obs.init(tmp_path) as run:
        run.log({"loss": 1.0})
    assert codex_obs.read(tmp_path)["step"].to_list()[-1] == largest + 1


def test_a_resume_on_each_of_eight_days_keeps_every_row(tmp_path: Path) -> None:
    """Each reopening rotates by age."""
    log_steps(tmp_path, range(500), max_shard_bytes=None, backup_count=5)
    for day in range(8):
        aged = time.time() - 2 * 86_400
        for path in tmp_path.glob("*.ndjson*"):
            os.utime(path, (aged, aged))
        log_steps(tmp_path, range(500 + day * 5, 505 + day * 5), max_shard_bytes=None, backup_count=5)
    assert steps_of(tmp_path) == list(range(540))
    assert names(tmp_path)[:3] == [".archive-000001.zst", ".archive-000002.zst", ".archive-000003.zst"]


def test_manifest_and_tracking_summary_are_packed_too(tmp_path: Path) -> None:
    recorder = _backend.Recorder(str(tmp_path), codex_obs.Settings(max_shard_bytes=3000, backup_count=1), run_id="r1")
    for step in range(60):
        recorder.log({"hist": [step, step]}, step=step)
        assert recorder._write_summary("test", "enabled", "y" * 200, {"step": step})
    assert recorder._close(None)
    manifest = [json.loads(line) for line in content(tmp_path, "metrics_manifest.ndjson").splitlines()]
    assert [line["descriptor"]["payload"] for line in manifest] == [[step, step] for step in range(60)]
    summary = [json.loads(line) for line in content(tmp_path, "tracking_summary.ndjson").splitlines()]
    assert [line["extra"]["step"] for line in summary if line["component"] == "test"] == list(range(60))
    for log in ("metrics_manifest.ndjson", "tracking_summary.ndjson"):
        assert names(tmp_path, log)[0] == ".archive-000001.zst"
        assert names(tmp_path, log)[-2:] == [".1", ""]


@pytest.mark.parametrize("settings", [{"archive": "none"}, {"archive_max_bytes": 2000}])
def test_only_two_settings_delete_rows_and_they_say_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, settings: dict[str, object]
) -> None:
    runs = [log_steps(tmp_path, steps, **settings) for steps in (range(600), range(600, 1200))]
    retired = [run.stats()["rows_retired"] for run in runs]
    assert min(retired) > 0
    left = steps_of(tmp_path)
    assert left == list(range(left[0], 1200))
    assert sum(retired) + codex_obs.read(tmp_path).height == 2400
    said = [message for message in caplog.messages if "has begun to delete" in message]
    assert len(said) == 2
    assert all(runs[0].name in message and next(iter(settings)) in message for message in said)
    last = records(tmp_path, "retired")[-1]
    assert (last["file"], last["rows"], last["rows_undelivered"]) == ("metrics", sum(retired), 0)
    summary = [json.loads(line) for line in content(tmp_path, "tracking_summary.ndjson").splitlines()]
    causes = [line["extra"]["cause"] for line in summary if line["status"] == "degraded"]
    assert causes == ["retired", "retired"]
    assert f"{tmp_path}: {sum(retired)} rows were deleted by retention" in caplog.text
    # Ordinals go on, whatever is left.
    ordinals = [record["ordinal"] for record in records(tmp_path, "retired")]
    assert ordinals == sorted(set(ordinals))
    packed = [name for name in names(tmp_path) if "archive" in name]
    first = records(tmp_path, "retired")[-1]["ordinal"] + 1
    assert packed == [f".archive-{first + index:06}.zst" for index in range(len(packed))]
    with codex_obs.init(tmp_path) as run:
        run.log({"loss": 600.0})
    assert steps_of(tmp_path)[-1] == 1200


def test_every_shard_can_stay_plain(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for word in ("all", "ALL"):
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("CODEX_TRACKING_NDJSON_BACKUP_COUNT", word)
            with codex_obs.init(tmp_path / word, max_shard_bytes=2000, archive="none") as run:
                for step in range(100):
                    run.log({"loss": 1.0}, step=step)
        assert not [name for name in names(tmp_path / word) if name.endswith(".zst")]
        assert run.stats()["rows_retired"] == 0
        assert codex_obs.read(tmp_path / word).height == 100
    assert not caplog.messages


def test_a_killed_run_loses_nothing_amid_packing(tmp_path: Path) -> None:
    program = """
import sys, codex_obs
run = codex_obs.init(sys.argv[1], run_id="r1", max_shard_bytes=20_000, backup_count=2)
for step in range(10**9):
    run.log({"loss": step * 0.5, "acc": 0.25}, step=step)
    if step % 100 == 0:
        print(step, flush=True)
"""
    start = 0
    for _ in range(3):
        command = [sys.executable, "-c", program.replace("range(10**9)", f"range({start}, 10**9)"), str(tmp_path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        said = start
        while said < start + 2000:
            said = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        said = max([said, *(int(line) for line in process.stdout.read().split("\n")[:-1])])
        process.wait()
        process.stdout.close()
        steps = steps_of(tmp_path)
        assert steps == list(range(len(steps)))
        assert len(steps) > said
        start = len(steps)
    log_steps(tmp_path, range(start, start + 1))
    assert steps_of(tmp_path) == list(range(start + 1))
    assert names(tmp_path)[-3:] == [".2", ".1", ""]
    assert content(tmp_path).count(b"\n") == 2 * (start + 1)


def test_readers_miss_and_double_nothing_while_shards_are_packed(tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path, run_id="r1", max_shard_bytes=4000, backup_count=1)
    done = threading.Event()
    written = 0

    def write() -> None:
        nonlocal written
        for step in range(8_000):
            run.log({"loss": step * 0.5}, step=step)
            if step % 50 == 0:
                run.flush()
                written = step
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set() and looks < 60:
        before = written
        steps = steps_of(tmp_path)
        assert steps == list(range(len(steps)))
        assert len(steps) > before or before == 0
        looks += 1
    writer.join()
    run.close()
    assert steps_of(tmp_path) == list(range(8_000))


def test_a_current_file_that_somebody_packed_becomes_a_shard(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log_steps(tmp_path, range(10), max_shard_bytes=None)
    log = tmp_path / "metrics.ndjson"
    packed = tmp_path / "metrics.ndjson.gz"
    packed.write_bytes(gzip.compress(log.read_bytes()))
    log.unlink()
    assert steps_of(tmp_path) == list(range(10))
    log_steps(tmp_path, range(10, 20), max_shard_bytes=None, resume="must")
    assert names(tmp_path) == [".1.gz", ""]
    assert steps_of(tmp_path) == list(range(20))
    assert not caplog.messages
    packed.write_bytes(gzip.compress(b"a copy\n"))
    log_steps(tmp_path, range(20, 30), max_shard_bytes=None)
    assert packed.exists()
    assert steps_of(tmp_path) == list(range(30))
    assert [message for message in caplog.messages if str(packed) in message]


def test_equal_shards_are_kept_apart(tmp_path: Path) -> None:
    """Legacy rows have no time, so that whole shards may be equal to the byte."""
    for _ in range(3):
        with codex_obs.init(tmp_path, legacy=True, max_shard_bytes=2000, backup_count=1) as run:
            for _ in range(100):
                run.log({"loss": 1.0}, step=0)
    assert codex_obs.read(tmp_path).height == 300
    assert content(tmp_path).count(b"\n") == 300
    assert len(set(map(unpacked, logs(tmp_path)["metrics.ndjson"][:-3]))) == 1


def test_archives_take_a_twelfth_of_the_plain_size(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path, max_shard_bytes=2 << 20, backup_count=1) as run:
        for step in range(4000):
            run.log({f"metric{index}": (step * 8 + index) ** 0.5 for index in range(8)}, step=step)
    archives = [path for path in logs(tmp_path)["metrics.ndjson"] if ".archive-" in path.name]
    plain = sum(len(unpacked(path)) for path in archives)
    assert len(archives) > 1
    assert sum(path.stat().st_size for path in archives) * 12 <= plain


@pytest.mark.parametrize(("variable", "text"), [("CODEX_OBS_ARCHIVE", "gzip"), ("CODEX_OBS_ARCHIVE_MAX_BYTES", "1GiB")])
def test_a_wrong_setting_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str, text: str) -> None:
    monkeypatch.setenv(variable, text)
    with pytest.raises(codex_obs.SettingError, match=variable):
        codex_obs.init(tmp_path)


def test_what_cannot_be_packed_stays_plain_until_it_can(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = codex_obs.init(tmp_path, run_id="r1", **SMALL)  # type: ignore[arg-type]
    obstacle = tmp_path / "metrics.ndjson.archive-new"
    obstacle.mkdir()
    for step in range(1000):
        run.log({"loss": step * 0.5, "acc": 0.25}, step=step)
    assert run.close()
    stats = run.stats()
    assert stats["pack_errors"] > 0
    assert stats["shards_packed"] == 0
    assert [message for message in caplog.messages if str(obstacle) in message and "stay unpacked" in message]
    assert not [name for name in names(tmp_path) if name.endswith(".zst")]
    assert steps_of(tmp_path) == list(range(1000))
    obstacle.rmdir()
    # Whoever closes a run need not be who packs it.
    codex_obs.recover(tmp_path)
    assert names(tmp_path)[-3:] == [".2", ".1", ""]
    assert names(tmp_path)[0] == ".archive-000001.zst"
    assert steps_of(tmp_path) == list(range(1000))


def test_a_shard_that_a_copy_has_twice_is_read_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A copy of a live run may have met a shard before it was packed, and its archive afterwards."""
    log_steps(tmp_path, range(1000))
    archives = [path for path in logs(tmp_path)["metrics.ndjson"] if ".archive-" in path.name]
    plain = tmp_path / "metrics.ndjson.3"
    plain.write_bytes(unpacked(archives[-1]))
    for _ in range(2):
        assert steps_of(tmp_path) == list(range(1000))
        assert [message for message in caplog.messages if str(plain) in message]
        # Going on in the copy packs it once more, which changes nothing for readers.
        log_steps(tmp_path, range(1000, 1000))


@pytest.mark.filterwarnings("ignore:.*multi-threaded.*fork:DeprecationWarning")
def test_forks_amid_packing_cost_neither_side_a_row(tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path, run_id="r1", **SMALL)  # type: ignore[arg-type]
    children = []
    for step in range(3000):
        run.log({"loss": step * 0.5, "acc": 0.25}, step=step)
        if step % 500 == 250:
            child = os.fork()
            if child == 0:
                run.log({"loss": step * 0.5}, step=step)
                run.close()
                os._exit(0)
            children.append(child)
    assert [os.waitpid(child, 0)[1] for child in children] == [0] * 6
    assert run.close()
    rows = codex_obs.read(tmp_path)
    main = rows.filter((pl.col("stream") == "main") & (pl.col("metric") == "loss"))
    assert main["step"].to_list() == list(range(3000))
    assert rows.height - 2 * main.height == len(children)
    assert names(tmp_path)[-3:] == [".2", ".1", ""]


def test_large_archives_are_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log_steps(tmp_path, range(10))
    with (tmp_path / "metrics.ndjson.archive-000001.zst").open("wb") as file:
        file.truncate(10 << 30)
    for start in (10, 1000):
        log_steps(tmp_path, range(start, start + 990))
    said = [message for message in caplog.messages if "10 GiB" in message]
    assert len(said) == 1
    assert "CODEX_OBS_ARCHIVE_MAX_BYTES" in said[0]
