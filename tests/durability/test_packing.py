"""Old shards become archives while processes die, disks fill up, power goes and others read: each row is there once."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import codex_obs
from faults import strace
from faults.follower import Follower
from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.mounts import loop, mount_again, shut_down
from faults.patience import communicate
from faults.tally import ACCEPTED, FLUSHED, Tally, wait_until
from packed import content, logs
from test_power_cut import METRICS as TWO_METRICS
from test_power_cut import recover, until_something_is_durable

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
CALLS = 60
# All but one of the rotated shards are packed, by the thread of the process that dies or by whoever comes after it.
PACKING: dict[str, object] = {"max_shard_bytes": 4_000, "backup_count": 1, "fsync": "always"}
SYSTEM_CALLS = "%file,%desc"
DEADLINE_S = 60.0


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
        directory = tmp_path / f"run-{moment}"
        accepted = []
        start = 0
        for victim in range(2):
            tally = Tally(tmp_path / f"tally-{moment}-{victim}")
            tally[ACCEPTED] = start
            work = json.dumps(PACKING | {"start": start, "calls": CALLS})
            killed = run_and_kill(directory, programs, moment, "workload", directory, tally.path, work)
            accepted.append(range(start, tally[ACCEPTED]))
            start = tally[ACCEPTED] + 1
            entry.attempts += killed
            entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
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
    assert run_and_kill(left, programs, 3, "workload", left, tally.path, work)
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


def run_and_kill(
    directory: Path,
    programs: Programs,
    moment: int,
    program: str,
    *arguments: object,
    names: Callable[[Path], list[str]] = strace.names_of_packing,
) -> bool:
    """Run a program that is killed before its `moment`-th call. Gives whether it lived to see it."""
    log = directory.with_suffix(".log")
    killing = strace.injecting(directory, log, SYSTEM_CALLS, f"signal=SIGKILL:when={moment}", names=names)
    process = programs.start(program, *arguments, before=killing)
    _, errors = communicate(process, DEADLINE_S)
    assert process.returncode in (0, -signal.SIGKILL), f"{moment}: {errors}"
    return process.returncode != 0


def check(directory: Path, accepted: list[range], entry: Entry) -> None:
    judgement = judge(directory, rows_of({"main": accepted}, METRICS))
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), f"{directory}: {judgement}"
    assert judgement.damage == {"tails": 0, "frames": 0, "journals": 0}, f"{directory}: {judgement}"
    assert judgement.unasked <= 2 * len(METRICS), f"{directory}: {judgement}"
    # Whoever recovers packs as well, and leaves nothing half done.
    files = [path.name.removeprefix("metrics.ndjson") for path in logs(directory)["metrics.ndjson"]]
    plain = [name for name in files if ".archive-" not in name]
    assert plain in ([".1", ""], [""]), files
    again = codex_obs.recover(directory)
    assert again == dict.fromkeys(again, 0), "a second recovery found something"
