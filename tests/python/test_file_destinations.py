"""TensorBoard's event files and offline runs of W&B: whole, once, and left alone where they are not ours."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs._sources._wire import integer, members, sub
from command import start
from destination_files import EVENTS, events_in, offline_files, written

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

DEADLINE_S = 30.0
LOOP = """
import sys
import codex_obs

with codex_obs.init(sys.argv[1], tensorboard=True, wandb="offline", max_shard_bytes=1_000_000) as run:
    print("ready", flush=True)
    while True:
        run.log({"loss": 0.5, "lr": 1e-5})
"""


def log(run_dir: Path, steps: range, **settings: Any) -> None:
    with codex_obs.init(run_dir, config={"lr": 0.1}, tags={"team": "x"}, **settings) as run:
        for step in steps:
            run.log({"loss": 1 / (step + 1), "accuracy": float("nan") if step == 3 else 0.5}, step=step)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(folder: Path) -> bool:
    """Deletes `folder`, in which a destination may be renaming a file meanwhile: then it is deleted again."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def made(folder: Path) -> bool:
    """Makes `folder`, unless a file with that name is there at the moment."""
    try:
        folder.mkdir()
    except FileExistsError:
        return False
    return True


def test_what_a_session_writes_and_what_is_delivered_later_are_the_same_bytes(run_dir: Path) -> None:
    log(run_dir, range(300), tensorboard=True, wandb="offline")
    live = written(run_dir)
    assert [path.name for path in offline_files(run_dir)] == [f"run-{_run_id(run_dir)}.wandb"]
    # The head, the table of parameters, two texts with parameters and tags, the end; and the rows.
    assert events_in(run_dir / EVENTS) == 5 + 600
    for folder in ("tensorboard", "wandb"):
        shutil.rmtree(run_dir / folder)
        done = start("sync", run_dir, "--to", folder, cwd=run_dir.parent)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == f"{run_dir}: 600 points delivered to {folder}\n"
    assert written(run_dir) == live
    again = start("sync", run_dir, "--to", "tensorboard", cwd=run_dir.parent)
    assert again.stdout == f"{run_dir}: nothing new for tensorboard\n"
    assert written(run_dir) == live


def test_a_run_that_is_continued_goes_on_in_the_same_files(run_dir: Path) -> None:
    for steps in (range(100), range(100, 250), range(50, 60)):
        log(run_dir, steps, tensorboard=True, wandb="offline", resume="allow")
    assert events_in(run_dir / EVENTS) == 5 + 2 * 260
    assert len(offline_files(run_dir)) == 1
    before = written(run_dir)
    shutil.rmtree(run_dir / "wandb")
    assert start("sync", run_dir, "--to", "wandb", cwd=run_dir.parent).returncode == 0
    assert written(run_dir) == before


@pytest.mark.parametrize("kills", [3, pytest.param(100, marks=pytest.mark.big)])
def test_every_row_is_there_once_whenever_the_process_is_killed(run_dir: Path, kills: int) -> None:
    chance = random.Random(kills)
    for _ in range(kills):
        process = subprocess.Popen([sys.executable, "-c", LOOP, run_dir], stdout=subprocess.PIPE)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        time.sleep(chance.uniform(0, 0.4))
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    for folder in ("tensorboard", "wandb"):
        assert start("sync", run_dir, "--to", folder, cwd=run_dir.parent).returncode == 0
    rows = codex_obs.read(run_dir).height
    assert events_in(run_dir / EVENTS) == 1 + rows
    parts = written(run_dir)
    for folder in ("tensorboard", "wandb"):
        shutil.rmtree(run_dir / folder)
        assert start("sync", run_dir, "--to", folder, cwd=run_dir.parent).returncode == 0
    assert written(run_dir) == parts


def test_a_lost_place_in_the_log_is_found_in_the_state_beside_the_file(run_dir: Path) -> None:
    log(run_dir, range(50), tensorboard=True, wandb="offline")
    for path in (run_dir / ".codex_obs").glob("export-*"):
        path.unlink()
    log(run_dir, range(50, 80), tensorboard=True, wandb="offline", resume="allow")
    assert events_in(run_dir / EVENTS) == 5 + 160


def test_a_folder_that_is_deleted_while_the_run_logs_is_written_anew(run_dir: Path) -> None:
    with codex_obs.init(run_dir, tensorboard=True, export_interval_s=0.01) as run:
        for step in range(10):
            run.log({"loss": 0.5}, step=step)
        until(lambda: (run_dir / EVENTS).exists() and events_in(run_dir / EVENTS) == 11)
        until(lambda: gone(run_dir / "tensorboard"))
        for step in range(10, 20):
            run.log({"loss": 0.5}, step=step)
        until(lambda: (run_dir / EVENTS).exists() and events_in(run_dir / EVENTS) == 21)
    assert events_in(run_dir / EVENTS) == 22, "and the end"


def test_what_is_made_anew_counts_anew_what_it_cannot_show(run_dir: Path) -> None:
    with codex_obs.init(run_dir, tensorboard=True, export_interval_s=0.01) as run:
        run.log({"loss": 0.5}, step=0)
        until(lambda: (run_dir / EVENTS).exists() and events_in(run_dir / EVENTS) == 2)
        with (run_dir / "metrics.ndjson").open("a") as rows:
            rows.write("no row\n")
        run.log({"loss": 0.5}, step=1)
        until(lambda: run.stats()["export_lines_skipped"] == 1)
        until(lambda: gone(run_dir / "tensorboard"))
        run.log({"loss": 0.5}, step=2)
        until(lambda: (run_dir / EVENTS).exists() and events_in(run_dir / EVENTS) == 4)
    stats = run.stats()
    assert (stats["export_lines_skipped"], stats["export_errors"]) == (2, 0), "once for each file"
    assert events_in(run_dir / EVENTS) == 5, "and the end"


def test_each_rank_s_files_end_when_it_ends_and_are_made_anew_as_they_were(run_dir: Path) -> None:
    program = f"""
import codex_obs
run = codex_obs.init({str(run_dir)!r}, rank=1, tensorboard=True, wandb="offline", export_ranks="all")
run.log({{"loss": 0.5}}, step=1)
run.finish("failed")
"""
    run = codex_obs.init(run_dir, rank=0, tensorboard=True, wandb="offline", export_ranks="all")
    run.log({"loss": 0.5}, step=0)
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
    run.finish("finished")
    live = written(run_dir)
    ends = {path.name: _exit_codes(path) for path in offline_files(run_dir)}
    assert sorted(ends.values()) == [[0], [1]], ends
    for folder in ("tensorboard", "wandb"):
        shutil.rmtree(run_dir / folder)
        done = start("sync", run_dir, "--to", folder, "--export-ranks", "all", cwd=run_dir.parent)
        assert (done.returncode, done.stderr) == (0, "")
    assert written(run_dir) == live


def test_files_of_others_are_left_as_they_are_and_said(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = run_dir / EVENTS
    path.parent.mkdir(parents=True)
    path.write_text("not ours")
    neighbour = path.with_name("events.out.tfevents.1700000000.host")
    neighbour.write_text("another tool's")
    log(run_dir, range(3), tensorboard=True)
    assert (path.read_text(), neighbour.read_text()) == ("not ours", "another tool's")
    assert "was not written by codex_obs" in caplog.text
    done = start("sync", run_dir, "--to", "tensorboard", cwd=run_dir.parent)
    assert done.returncode == 1
    assert "move it away" in done.stderr
    path.unlink()
    assert start("sync", run_dir, "--to", "tensorboard", cwd=run_dir.parent).returncode == 0
    assert neighbour.read_text() == "another tool's"


def test_a_state_of_another_version_stops_with_the_remedy(run_dir: Path) -> None:
    log(run_dir, range(3), tensorboard=True)
    state = run_dir / "tensorboard" / ".codex_obs.json"
    document = json.loads(state.read_text())
    state.write_text(json.dumps(document | {"version": 99}))
    before = (run_dir / EVENTS).read_bytes()
    done = start("sync", run_dir, "--to", "tensorboard", cwd=run_dir.parent)
    assert done.returncode == 1
    assert "version 99" in done.stderr
    assert "delete this file" in done.stderr
    assert (run_dir / EVENTS).read_bytes() == before


def test_one_folder_is_not_shared_by_two_runs(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "events"
    log(tmp_path / "a", range(3), tensorboard=folder)
    before = (folder / EVENTS.name).read_bytes()
    log(tmp_path / "b", range(3), tensorboard=folder)
    assert (folder / EVENTS.name).read_bytes() == before
    assert "another run" in caplog.text


def test_what_was_uploaded_is_not_added_to(run_dir: Path) -> None:
    log(run_dir, range(5), wandb="offline")
    (first,) = offline_files(run_dir)
    before = first.read_bytes()
    first.with_name(f"{first.name}.synced").touch()
    log(run_dir, range(5, 8), wandb="offline", resume="allow")
    files = offline_files(run_dir)
    assert len(files) == 2
    assert first.read_bytes() == before


@pytest.mark.parametrize("variable", [("WANDB_MODE", "disabled"), ("WANDB_DISABLED", "true")])
def test_wandb_stays_off_where_its_own_client_is_switched_off(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch, variable: tuple[str, str]
) -> None:
    monkeypatch.setenv(*variable)
    log(run_dir, range(3), wandb="offline")
    assert not (run_dir / "wandb").exists()
    done = start("sync", run_dir, "--to", "wandb", cwd=run_dir.parent)
    assert done.returncode == 2
    assert "WANDB_DISABLED" in done.stderr


def test_structured_values_are_shown_or_counted(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"hist": {"counts": [1, 2], "edges": [0, 1, 2]}, "words": "some text", "grad": [0.5, 1.0, 2.0]}, step=1)
        run.log({"map": {"a": 1}, "none": None}, step=2)
        run.event("MISC", "hello", value=3)
    for folder, events in (("tensorboard", 3), ("wandb", 3)):
        done = start("sync", run_dir, "--to", folder, "--json", cwd=run_dir.parent)
        (result,) = json.loads(done.stdout)
        counted = [result[f"rows_{why}"] for why in ("structured", "without_value", "without_step")]
        assert (result["delivered"], counted) == (events, [1, 1, 1])


def test_a_state_that_cannot_be_noted_doubles_nothing(run_dir: Path) -> None:
    with codex_obs.init(run_dir, tensorboard=True, wandb="offline", export_interval_s=0.01) as run:
        run.log({"loss": 0.5}, step=0)
        until(lambda: (run_dir / EVENTS).exists() and events_in(run_dir / EVENTS) == 2)
        until(lambda: bool(offline_files(run_dir)))
        # As where there is no room for a file.
        drafts = [run_dir / folder / ".codex_obs.json.new" for folder in ("tensorboard", "wandb")]
        for draft in drafts:
            until(partial(made, draft))
        retries = run.stats()["export_retries"]
        for step in range(1, 4):
            run.log({"loss": 0.5}, step=step)
        until(lambda: run.stats()["export_retries"] >= retries + 4)
        for draft in drafts:
            draft.rmdir()
    live = written(run_dir)
    for folder in ("tensorboard", "wandb"):
        shutil.rmtree(run_dir / folder)
        assert start("sync", run_dir, "--to", folder, cwd=run_dir.parent).returncode == 0
    assert written(run_dir) == live


def test_a_run_that_has_everything_keeps_its_end(run_dir: Path) -> None:
    log(run_dir, range(5), tensorboard=True, wandb="offline")
    live = written(run_dir)
    for folder in ("tensorboard", "wandb"):
        done = start("sync", run_dir, "--to", folder, cwd=run_dir.parent)
        assert done.stdout == f"{run_dir}: nothing new for {folder}\n"
    assert written(run_dir) == live


def test_values_of_the_group_that_waits_are_found_after_a_kill(run_dir: Path) -> None:
    program = f"""
import os, time
import codex_obs
run = codex_obs.init({str(run_dir)!r}, wandb="offline", export_interval_s=0.5)
for step in range(3):
    run.log({{"loss": 0.5, "h": {{"counts": [1, 2], "edges": [0, 1, 2]}}}}, step=step)
run.event("MISC", "hello", value=3)
deadline = time.monotonic() + 30
while run.stats()["metrics_exported"] < 4:
    assert time.monotonic() < deadline
    time.sleep(0.01)
os.kill(os.getpid(), 9)
"""
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == -signal.SIGKILL
    assert start("sync", run_dir, "--to", "wandb", cwd=run_dir.parent).returncode == 0
    (progress,) = (json.loads(path.read_text()) for path in (run_dir / ".codex_obs").glob("export-*.json"))
    assert progress["totals"]["without_step"] == 1
    (file,) = offline_files(run_dir)
    # Those of the history, and the last one in the summary.
    assert file.read_bytes().count(b'"_type":"histogram"') == 3 + 1


@pytest.mark.parametrize("folder", ["tensorboard", "wandb"])
def test_a_folder_that_is_a_link_is_not_written_through(
    run_dir: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, folder: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    run_dir.mkdir()
    (run_dir / folder).symlink_to(elsewhere)
    settings: dict[str, Any] = {folder: True if folder == "tensorboard" else "offline"}
    log(run_dir, range(3), **settings)
    assert list(elsewhere.iterdir()) == []
    assert "it is a symbolic link" in caplog.text
    # One that was named may be.
    log(run_dir, range(3, 5), tensorboard=run_dir / folder, resume="allow")
    assert (elsewhere / EVENTS.name).exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "wandb", "--dest", "x"], "--dest is for event files"),
        (["--to", "tensorboard", "--uri", "http://127.0.0.1:9"], "--uri"),
    ],
)
def test_options_of_other_destinations_are_refused(run_dir: Path, arguments: list[str], words: str) -> None:
    log(run_dir, range(1))
    done = start("sync", run_dir, *arguments, cwd=run_dir.parent)
    assert done.returncode == 2
    assert words in done.stderr


def test_the_folder_can_be_named(run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_OBS_TENSORBOARD", str(tmp_path / "named"))
    log(run_dir, range(3))
    live = (tmp_path / "named" / EVENTS.name).read_bytes()
    start("sync", run_dir, "--to", "tensorboard", "--dest", tmp_path / "again", cwd=tmp_path)
    assert (tmp_path / "again" / EVENTS.name).read_bytes() == live
    assert not (run_dir / "tensorboard").exists()


@pytest.mark.skipif(shutil.which("strace") is None, reason="needs strace")
def test_nothing_is_looked_up_or_sent(run_dir: Path, tmp_path: Path) -> None:
    program = f"import codex_obs; run = codex_obs.init({str(run_dir)!r}, tensorboard=True, wandb='offline')\n"
    program += "run.log({'loss': 0.5}); run.close()\nimport sys; assert not {'wandb', 'tensorboard'} & set(sys.modules)"
    trace = tmp_path / "trace"
    command = ["strace", "-f", "-e", "trace=socket,connect", "-o", str(trace), sys.executable, "-c", program]
    assert subprocess.run(command, check=False, timeout=60, env=os.environ | {"WANDB_PROJECT": "p"}).returncode == 0
    assert "AF_INET" not in trace.read_text()
    assert offline_files(run_dir)


def _exit_codes(path: Path) -> list[int]:
    """The exit records of an offline run of one block."""
    data, place, found = path.read_bytes(), 7, []
    while place < len(data):
        (length,) = struct.unpack_from("<H", data, place + 4)
        record = members(data[place + 7 : place + 7 + length])
        if 18 in record:
            found.append(integer(members(sub(record[18])).get(1)))
        place += 7 + length
    return found


def _run_id(run_dir: Path) -> str:
    return str(json.loads((run_dir / "run.json").read_text())["run_id"])
