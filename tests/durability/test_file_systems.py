"""File systems that lack what others have: locks, links, renames that spare, syncs, the same owner, one device."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.fuse import bindfs, fuse
from faults.ledger import Entry
from faults.mounts import require, run, tmpfs
from faults.strace import require as require_strace

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

RANKS = 8
TRAININGS = 4
NOBODY = 65534
AT_FDCWD, RENAME_EXCHANGE = -100, 2
CALLS = 50
LACKS = ((), ("links",), ("links", "flock"), ("flock", "fsyncdir"))


@pytest.mark.parametrize("lacks", LACKS, ids=lambda lacks: "-".join(lacks) or "nothing")
def test_ranks_at_once(
    lacks: tuple[str, ...], tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    entry = Entry(f"ranks that start at once on FUSE without {', '.join(('RENAME_NOREPLACE', *lacks))}")
    with fuse(tmp_path / "disk", lacks=lacks) as disk:
        for round_ in range(scale.times(20, least=2)):
            start_ranks(disk.place / f"run-{round_}", programs, entry)
    ledger.enter(entry)


def test_ranks_at_once_on_bindfs(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("ranks that start at once on bindfs")
    with bindfs(tmp_path / "source", tmp_path / "disk") as disk:
        for round_ in range(scale.times(20, least=2)):
            start_ranks(disk / f"run-{round_}", programs, entry)
    ledger.enter(entry)


@pytest.mark.parametrize("lacks", [("flock",), ("flock", "links")], ids="-".join)
def test_trainings_of_one_name_at_once(
    lacks: tuple[str, ...], tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    """Nothing keeps those apart who choose a folder: who creates its identity has it, the others go on to a suffix."""
    entry = Entry(f"trainings of one name at once on FUSE without {', '.join(('RENAME_NOREPLACE', *lacks))}")
    with fuse(tmp_path / "disk", lacks=lacks) as disk:
        for round_ in range(scale.times(20, least=2)):
            folder = disk.place / f"round-{round_}"
            folder.mkdir()
            output, errors = programs.start("trainings", folder, TRAININGS).communicate()
            paths = json.loads(output)
            expected = ["exp", *(f"exp-{number}" for number in range(2, TRAININGS + 1))]
            assert sorted(paths) == sorted(str(folder / "runs" / name) for name in expected), errors
            for path in paths:
                assert codex_obs.read(path)["stream"].cast(str).to_list() == ["main"]
            entry.attempts += TRAININGS
            entry.accepted += len(paths)
    ledger.enter(entry)


def start_ranks(directory: Path, programs: Programs, entry: Entry) -> None:
    directory.mkdir()
    output, errors = programs.start("ranks", directory, RANKS).communicate()
    outcomes = json.loads(output)
    assert [outcome for outcome in outcomes if "raised" in outcome] == [], errors
    assert len(outcomes) == RANKS, errors
    assert {outcome["run_id"] for outcome in outcomes} == {json.loads((directory / "run.json").read_text())["run_id"]}
    assert [path.name for path in directory.iterdir() if path.name.startswith(".run.json")] == []
    rows = codex_obs.read(directory)
    assert sorted(rows["step"]) == list(range(RANKS))
    entry.attempts += RANKS
    entry.accepted += rows.height


@pytest.mark.parametrize("refusal", ["ENOSYS", "ENOLCK", "EOPNOTSUPP"])
def test_no_locks(refusal: str, tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    """A record of the owner decides: a second process gets another stream, a dead one's is taken over."""
    require_strace()
    entry = Entry(f"no file locks: flock answers {refusal}")
    directory = tmp_path / "run"
    before = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", f"inject=flock:error={refusal}")
    first = programs.start("holder", directory, 0, CALLS, before=before)
    told = json.loads(line_of(first))
    assert told["stream"] == "main"
    assert len([text for text in told["said"] if "no file locks" in text]) == 1, told
    second = programs.start("holder", directory, 1000, CALLS, before=before)
    other = json.loads(line_of(second))
    assert other["stream"].startswith("pid-")
    assert other["run_id"] == told["run_id"]
    # Readers leave what a process that lives has in its journal.
    assert reader(directory, before) == 2 * CALLS
    for process in (first, second):
        kill_behind(process)
    third = programs.start("holder", directory, 2000, CALLS, before=before)
    assert json.loads(line_of(third))["stream"] == "main", "the dead owner's stream is taken over"
    third.communicate("\n")
    assert third.returncode == 0
    steps = [*range(CALLS), *range(1000, 1000 + CALLS), *range(2000, 2000 + CALLS)]
    assert sorted(codex_obs.read(directory)["step"]) == steps
    assert [path.name for path in (directory / ".codex_obs").iterdir() if "heir" in path.name] == []
    entry.attempts, entry.accepted = 3, len(steps)
    ledger.enter(entry)


def test_a_record_of_another_host_is_left_alone(tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    require_strace()
    require("unshare")
    entry = Entry("no file locks: an owner in another PID namespace")
    directory = tmp_path / "run"
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOSYS")
    far = programs.start("holder", directory, 0, CALLS, before=(*strace, "unshare", "--pid", "--fork", "--kill-child"))
    assert json.loads(line_of(far))["stream"] == "main"
    # With unshare its child ends.
    kill_behind(far)
    near = programs.start("holder", directory, 1000, CALLS, before=strace)
    told = json.loads(line_of(near))
    assert told["stream"].startswith("pid-"), "whether the owner lives cannot be seen from here"
    assert any("codex-ndjson recover" in text for text in told["said"]), told
    near.communicate("\n")
    script = "import sys, codex_obs; codex_obs.recover(sys.argv[1], foreign=True)"
    subprocess.run([*strace, sys.executable, "-c", script, directory], check=True)
    last = programs.start("holder", directory, 2000, CALLS, before=strace)
    assert json.loads(line_of(last))["stream"] == "main", "somebody said that it is dead"
    last.communicate("\n")
    steps = [start + step for start in (0, 1000, 2000) for step in range(CALLS)]
    assert sorted(codex_obs.read(directory)["step"]) == steps
    entry.attempts, entry.accepted = 3, 3 * CALLS
    ledger.enter(entry)


@pytest.mark.parametrize("refusal", ["EOPNOTSUPP", "EINVAL", "ENOSYS", "EBADF"])
@pytest.mark.parametrize("calls", ["fsync", "fsync,fdatasync"])
def test_what_cannot_be_synced(calls: str, refusal: str, tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    require_strace()
    entry = Entry(f"{calls.replace(',', ' and ')} not supported: {refusal}")
    strace = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", f"trace={calls}")
    before = (*strace, "-e", f"inject={calls}:error={refusal}")
    logger = programs.start("holder", tmp_path / "run", 0, CALLS, before=before)
    assert json.loads(line_of(logger))["stream"] == "main"
    logger.communicate("\n")
    assert logger.returncode == 0
    assert codex_obs.read(tmp_path / "run").height == CALLS
    entry.attempts, entry.accepted = 1, CALLS
    ledger.enter(entry)


def kill_behind(strace: subprocess.Popen[str]) -> None:
    """Kill what strace runs: without strace it would run on."""
    child = subprocess.run(["pgrep", "-P", str(strace.pid)], capture_output=True, text=True, check=True)
    os.kill(int(child.stdout), signal.SIGKILL)
    strace.communicate()


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, process.communicate()[1]
    return line


def reader(directory: Path, before: tuple[str, ...]) -> int:
    script = "import sys, codex_obs; print(codex_obs.read(sys.argv[1]).height)"
    done = subprocess.run(
        [*before, sys.executable, "-c", script, directory], capture_output=True, text=True, check=True
    )
    return int(done.stdout)


@pytest.mark.parametrize("shown", [NOBODY, 4242])
def test_another_owner_is_shown(shown: int, tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    """As NFS with root_squash does. What somebody else made elsewhere is refused as ever."""
    entry = Entry(f"a mount that shows owner {shown}")
    with fuse(tmp_path / "disk", shown_owner=shown) as disk:
        for session in range(2):
            logger = programs.start("holder", disk.place / "run", session * CALLS, CALLS)
            assert json.loads(line_of(logger))["stream"] == "main"
            logger.kill()
            logger.communicate()
        assert codex_obs.read(disk.place / "run").height == 2 * CALLS
        assert [path.name for path in disk.place.rglob("*owner*")] == [], "no file is left of the look at the owner"
    planted = tmp_path / "planted"
    planted.mkdir(mode=0o777)
    (planted / "metrics.ndjson").write_text("")
    os.chown(planted / "metrics.ndjson", shown, shown)
    with pytest.raises(codex_obs.CodexObsError, match="belongs to another user"):
        codex_obs.init(planted)
    entry.attempts, entry.accepted = 3, 2 * CALLS
    ledger.enter(entry)


@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_internals_on_another_file_system(kind: str, tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    entry = Entry(f".codex_obs on another file system ({kind})")
    directory = tmp_path / "run"
    directory.mkdir()
    with tmpfs(tmp_path / "other", 64) as other:
        internals = directory / ".codex_obs"
        internals.mkdir(mode=0o700)
        if kind == "bind":
            run("mount", "--bind", other, internals)
        else:
            run("mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", internals)
        try:
            for session in range(2):
                logger = programs.start("holder", directory, session * CALLS, CALLS)
                assert json.loads(line_of(logger))["stream"] == "main"
                logger.kill()
                logger.communicate()
            assert codex_obs.read(directory).height == 2 * CALLS
        finally:
            run("umount", "-l", internals)
        assert [path.name for path in directory.iterdir() if path.name.startswith(".run")] == []
    entry.attempts, entry.accepted = 2, 2 * CALLS
    ledger.enter(entry)


def test_internals_swapped_for_a_link(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Another user who may write the run directory swaps its folder of internals for a link, again and again."""
    require()
    entry = Entry("a user swaps .codex_obs for a link, thousands of times a second")
    directory, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    open_to_all(tmp_path)
    for folder in (directory, elsewhere):
        folder.mkdir()
        folder.chmod(0o777)
    with codex_obs.init(directory) as first:
        first.log({"m": 1.0})
    elsewhere_before = sorted(path.name for path in elsewhere.iterdir())
    swapper = programs.start("swapper", directory / ".codex_obs", elsewhere, NOBODY)
    assert line_of(swapper) == "ready\n"
    opened = refused = 0
    for _ in range(scale.times(1000, least=100)):
        try:
            later = codex_obs.init(directory)
            later.log({"m": 2.0})
            later.close(timeout=0.5)
            opened += 1
        except codex_obs.CodexObsError:
            refused += 1
    swapper.kill()
    swapper.communicate()
    assert sorted(path.name for path in elsewhere.iterdir()) == elsewhere_before, "nothing is made there"
    assert refused > 0, "the swaps hit nothing"
    entry.attempts, entry.accepted = opened + refused, opened
    ledger.enter(entry)


@pytest.mark.parametrize("swapped", ["run/.codex_obs", "run"])
def test_folders_swapped_under_an_open_run(
    swapped: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    """Nothing is made behind the link, and no row is lost once the folder is in its place again."""
    require()
    entry = Entry(f"a user swaps {swapped} of an open run for a link, thousands of times a second")
    directory, elsewhere = tmp_path / "run", tmp_path / "elsewhere"
    open_to_all(tmp_path)
    tmp_path.chmod(0o777)
    for folder in (directory, elsewhere, elsewhere / ".codex_obs"):
        folder.mkdir()
        folder.chmod(0o777)
    calls = scale.times(20_000, least=2000)
    opened = codex_obs.init(directory, max_shard_bytes=20_000, backup_count=2, fsync_interval_s=0.01)
    swapper = programs.start("swapper", tmp_path / swapped, elsewhere, NOBODY)
    assert line_of(swapper) == "ready\n"
    try:
        for step in range(calls):
            opened.log({"m": float(step)}, step=step)
            if step % 50 == 0:
                opened.flush(timeout=0.01)
    finally:
        swapper.kill()
        swapper.communicate()
    place = tmp_path / swapped
    if place.is_symlink():
        # In one step: where nothing lies, the run makes a folder of its own.
        names = os.fsencode(place), os.fsencode(place.with_name("evil"))
        assert ctypes.CDLL(None).renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0
    assert opened.close(timeout=60)
    assert sorted(path.name for path in elsewhere.rglob("*")) == [".codex_obs"], "nothing is made there"
    stats = opened.stats()
    assert stats["rows_dropped"] == 0
    assert sorted(codex_obs.read(directory)["step"].to_list()) == list(range(calls))
    entry.attempts, entry.accepted = 1, calls
    ledger.enter(entry)


@pytest.mark.parametrize(("mode", "folders"), [("644", 0o755), ("0o640", 0o750), ("660", 0o770), ("600", 0o700)])
def test_folders_follow_the_mode(mode: str, folders: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_LOG_FILE_MODE", mode)
    before = os.umask(0)
    try:
        with codex_obs.init(tmp_path / "runs" / "run") as made:
            made.log({"m": 1.0})
    finally:
        os.umask(before)
    for folder in ("runs", "runs/run", "runs/run/.codex_obs"):
        assert (tmp_path / folder).stat().st_mode & 0o777 == folders, folder


@pytest.mark.parametrize("mode", ["644", "600"])
def test_another_user_reads_what_the_mode_lets_it(
    mode: str, tmp_path: Path, programs: Programs, ledger: Ledger
) -> None:
    """Not the journals: then it is told."""
    require()
    entry = Entry(f"another user reads a killed run of mode {mode}")
    open_to_all(tmp_path)
    directory = tmp_path / "run"
    logger = programs.start("holder", directory, 0, CALLS, CODEX_LOG_FILE_MODE=mode)
    line_of(logger)
    logger.kill()
    logger.communicate()
    script = """
import logging, os, sys
import codex_obs, polars
from codex_obs import reading
os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
logging.basicConfig(format="%(message)s")
try:
    print(codex_obs.read(sys.argv[1]).height)
except codex_obs.CodexObsError as error:
    print(type(error).__name__)
"""
    done = subprocess.run([sys.executable, "-c", script, directory], capture_output=True, text=True, check=True)
    if mode == "644":
        assert int(done.stdout) == CALLS
        assert done.stderr.count("1 journal that this user may not read") == 1, done.stderr
    else:
        assert done.stdout == "LogFileError\n"
    assert codex_obs.read(directory).height == CALLS
    entry.attempts, entry.accepted = 1, CALLS
    ledger.enter(entry)


def open_to_all(path: Path) -> None:
    """Let other users into a folder of pytest's, which it makes for its own."""
    for folder in (path, *path.parents):
        if "pytest-" in str(folder):
            folder.chmod(0o755)
