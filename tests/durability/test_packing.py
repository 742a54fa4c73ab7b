"""Old shards become archives while processes die, disks fill up, power goes and others read: each row is there once."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults import strace
from faults.follower import Follower
from faults.judge import judge, rows_of
from faults.killing import DEADLINE_S, SYSTEM_CALLS, kill_two, require_whole, run_and_kill
from faults.ledger import Entry
from faults.mounts import loop, mount_again, shut_down
from faults.patience import communicate
from faults.tally import ACCEPTED, FLUSHED, Tally, wait_until
from packed import content, logs
from test_power_cut import METRICS as TWO_METRICS
from test_power_cut import recover, until_something_is_durable

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
CALLS = 60
# All but one of the rotated shards are packed, by the thread of the process that dies or by the process after it.
PACKING: dict[str, object] = {"max_shard_bytes": 4_000, "backup_count": 1, "fsync": "always"}


def test_kill_every_syscall_of_packing(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Each victim goes on with what the one before it left, and dies before the same call of its packer."""
    strace.require()
    entry = Entry("SIGKILL at every system call of packing", longest_log_s=0)
    log = tmp_path / "log"
    work = json.dumps(PACKING | {"start": 0, "calls": CALLS})
    tracing = strace.tracing(tmp_path / "whole", log, SYSTEM_CALLS, names=strace.names_of_packing)
    process = programs.start("workload", tmp_path / "whole", tmp_path / "tally", work, before=tracing)
    _, errors = communicate(process, DEADLINE_S)
    assert process.returncode == 0, errors
    last = strace.most_calls(log)
    archives = [path for path in logs(tmp_path / "whole")["metrics.ndjson"] if ".archive-" in path.name]
    assert last > 4 * len(archives) > 0, "the calls are those of the packer"
    for moment in strace.spread(last, scale.times(last, least=8)):
        victims = PACKING | {"calls": CALLS}
        directory, accepted = kill_two(tmp_path, programs, moment, victims, entry, strace.names_of_packing)
        check(directory, accepted, entry)
    assert entry.attempts > 0
    ledger.enter(entry)


def test_kill_every_syscall_of_packing_what_is_left(
    tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    """What a dead process left to be packed is packed by `recover`, one after another, each killed one call later."""
    strace.require()
    entry = Entry("SIGKILL at every system call of `recover` that packs")
    left = tmp_path / "left"
    # The first call of its packer is its last.
    tally = Tally(tmp_path / "tally")
    work = json.dumps(PACKING | {"start": 0, "calls": CALLS})
    assert run_and_kill(left, programs, 3, "workload", left, tally.path, work, names=strace.names_of_packing)
    codex_obs.recover(copy_of(left, tmp_path / "tried"))
    log = tmp_path / "log"
    tracing = strace.tracing(copy_of(left, tmp_path / "whole"), log, SYSTEM_CALLS, names=every_name)
    _, errors = communicate(programs.start("recover", tmp_path / "whole", before=tracing), DEADLINE_S)
    assert not errors
    last = strace.most_calls(log)
    for moment in strace.spread(last, scale.times(last, least=6)):
        directory = copy_of(left, tmp_path / f"run-{moment}")
        for _ in range(2):
            entry.attempts += run_and_kill(directory, programs, moment, "recover", directory, names=every_name)
        check(directory, [range(tally[ACCEPTED])], entry)
    ledger.enter(entry)


def test_kill_amid_packing_of_equal_rows(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Legacy rows have no time: whole shards are equal to the byte, and only the number of rows tells."""
    entry = Entry("SIGKILL amid packing of equal shards (legacy rows)")
    directory, tally = tmp_path / "run", Tally(tmp_path / "tally")
    chance = random.Random(4)
    settings = {"max_shard_bytes": 2000, "backup_count": 1, "legacy": True}
    for _ in range(scale.times(60, least=4)):
        # It counts on where the one before it died.
        victim = programs.start("same", directory, tally.path, json.dumps(settings))
        until = tally[ACCEPTED] + 200 + chance.randrange(3000)
        wait_until(lambda: tally[ACCEPTED] >= until or victim.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023
        assert victim.poll() is None, victim.communicate()[1]
        victim.kill()
        victim.communicate()
        entry.attempts += 1
        found = codex_obs.read(directory).height
        # The call amid which it died may have arrived.
        entry.lost += max(0, tally[ACCEPTED] - found)
        entry.doubled += max(0, found - tally[ACCEPTED] - 1)
        assert tally[ACCEPTED] <= found <= tally[ACCEPTED] + 1
        assert content(directory).count(b"\n") == found
        tally[ACCEPTED] = found
    entry.accepted = tally[ACCEPTED]
    ledger.enter(entry)


@pytest.mark.parametrize("how", ["recover", "close"])
@pytest.mark.parametrize(("log", "rotation"), [("metrics", 2), ("metrics", 4), ("metrics_manifest", 2)])
def test_what_a_worker_that_died_amid_a_rotation_left_is_packed(
    log: str, rotation: int, how: str, tmp_path: Path, programs: Programs
) -> None:
    """It dies before it opens the new file: a shard is due, and its packer has not heard of it."""
    strace.require()
    directory, tally = tmp_path / "run", Tally(tmp_path / "tally")
    base = f"{log}.rank-1.ndjson"
    rules = {"max_shard_bytes": 2000, "backup_count": 1, "fsync": "never"}
    calls = json.dumps({"start": 0, "calls": 400, "rank": 1, **rules})
    killing = strace.injecting(
        directory,
        tmp_path / "log",
        "openat",
        f"signal=SIGKILL:when={rotation + 1}",
        # Looked up in the open folder.
        names=lambda run: [base, str(run / base)],
    )
    worker = programs.start("workload", directory, tally.path, calls, before=killing)
    _, errors = communicate(worker, DEADLINE_S)
    assert worker.returncode == -signal.SIGKILL, errors
    assert not (directory / base).exists()
    assert (directory / f"{base}.2").exists()
    if how == "recover":
        codex_obs.recover(directory)
    else:
        codex_obs.init(directory).close()
    shards = [path.name for path in logs(directory)[base]]
    assert shards[:-1] == [f"{base}.archive-{number:06}.zst" for number in range(1, len(shards) - 1)] + [f"{base}.1"]
    assert not list(directory.glob(".codex_obs/pack-*"))
    judge(directory, rows_of({"rank-1": [range(tally[ACCEPTED])]}, METRICS)).require_perfect()


def test_power_cut_amid_packing(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    for kind in ("ext4", "xfs"):
        entry = Entry(f"power cut amid packing on {kind}, another boot id")
        chance = random.Random(5)
        with loop(tmp_path / f"disk-{kind}", kind, 400) as disk:
            directory = disk / "run"
            durable: list[range] = []
            start = 0
            for cut in range(scale.times(20, least=2)):
                tally = Tally(tmp_path / f"tally-{kind}-{cut}")
                tally[ACCEPTED] = tally[FLUSHED] = start
                # Without a sync of its own every other time: then only the packer syncs.
                settings = {"max_shard_bytes": 20_000, "backup_count": 1, "fsync": ("never", "interval")[cut % 2]}
                program = programs.start("synced", directory, tally.path, start, "sync", json.dumps(settings))
                safe = until_something_is_durable(tally, "sync", start, chance, tmp_path / "probe")
                shut_down(disk)
                program.kill()
                _, errors = program.communicate()
                accepted = tally[ACCEPTED]
                mount_again(disk)
                recover(directory, tmp_path, "another boot id")
                durable.append(range(start, safe))
                judgement = judge(directory, rows_of({"main": durable}, TWO_METRICS))
                told = f"cut {cut}: {judgement}; {errors}"
                assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), told
                entry.attempts += 1
                entry.accepted = judgement.accepted
                start = accepted + 1
            assert list(directory.glob("*.archive-*.zst"))
        ledger.enter(entry)


def test_readers_followers_and_copies_amid_packing(
    tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    entry = Entry("read, `tail -F` and `cp -r` beside packing")
    directory, tally = tmp_path / "run", Tally(tmp_path / "tally")
    directory.mkdir()
    follower = Follower(directory, "metrics.ndjson*[n0-9]")
    settings = {"calls_per_s": 3000, "max_shard_bytes": 20_000, "backup_count": 1}
    program = programs.start("steady", directory, tally.path, json.dumps(settings))
    wait_until(lambda: bool(list(directory.glob("*.archive-*.zst"))), DEADLINE_S, "something is packed")
    for number in range(scale.times(200, least=10)):
        before = tally[ACCEPTED]
        wait_until(lambda: tally[ACCEPTED] > before + 100, DEADLINE_S, "it logs")  # noqa: B023 - used at once
        rows = codex_obs.read(directory)
        after = tally[ACCEPTED]
        steps = rows["step"].to_list()
        # Nothing is missing in between, and nothing is there twice.
        entry.doubled += len(steps) - len(set(steps))
        entry.lost += (steps[-1] + 1) - len(set(steps))
        assert steps == list(range(len(steps)))
        assert len(steps) <= after + 1
        copy = tmp_path / f"copy-{number}"
        # Files vanish while it looks at them.
        subprocess.run(["cp", "-r", directory, copy], check=False, stderr=subprocess.DEVNULL)
        copied = codex_obs.read(copy).select("metric", "step")
        entry.doubled += copied.height - copied.unique().height
        assert copied.height == copied.unique().height, f"{copy}: rows are there twice"
        shutil.rmtree(copy)
        entry.attempts += 1
    tally[2] = 1
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    assert json.loads(output)["stats"]["shards_packed"] > 0
    calls = tally[ACCEPTED]
    judgement = judge(directory, rows_of({"main": [range(calls)]}, ["loss"]))
    judgement.require_perfect()
    entry.accepted = judgement.accepted
    lines = follower.end()
    entry.torn = len(follower.shrunk)
    assert follower.shrunk == []
    # What is packed before it looks at it, it does not see.
    assert len(set(lines)) == len(lines)
    assert set(lines) <= set(content(directory).splitlines(keepends=True))
    ledger.enter(entry)


def every_name(directory: Path) -> list[str]:
    return [*strace.names_in(directory), *strace.names_of_packing(directory)]


def copy_of(directory: Path, copy: Path) -> Path:
    """Copy a run that nobody writes; its journal was recovered."""
    codex_obs.read(directory)
    shutil.copytree(directory, copy)
    return copy


def check(directory: Path, accepted: list[range], entry: Entry) -> None:
    require_whole(directory, rows_of({"main": accepted}, METRICS), entry, at_most_unasked=2 * len(METRICS))
    # A recovery packs as well, and leaves nothing half done.
    files = [path.name.removeprefix("metrics.ndjson") for path in logs(directory)["metrics.ndjson"]]
    plain = [name for name in files if ".archive-" not in name]
    assert plain in ([".1", ""], [""]), files
