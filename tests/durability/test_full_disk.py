"""Disks that fill up and become free again, twenty times, or turn read-only for good."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pytest

from faults.judge import judge, losses_on_record, rows_of
from faults.ledger import Entry
from faults.mounts import fill, loop, make_read_only, mount_again, run, tmpfs
from faults.patience import communicate
from faults.tally import ACCEPTED, STATE, Tally, wait_until

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

MAX_BLOCK_S = 0.2
SETTINGS: dict[str, object] = {
    "calls_per_s": 5000,
    "ring_bytes": 256 << 10,
    "max_block_s": MAX_BLOCK_S,
    "max_shard_bytes": 1_000_000,
    "backup_count": "all",
}
# So small that something is being packed at every moment.
PACKING = {"max_shard_bytes": 20_000, "backup_count": 1}
# Calls that do not fit into the ring while nothing can be written, so that rows must be dropped.
EPISODE_CALLS = 4000
RESUME_S = 1.5
LONGEST_LOG_S = 0.005
# The kernel may hold up a store into the mapped journal while it turns the file system read-only.
TURNING_S = 0.05
# Bytes; rows are longer.
SHORTEST_ROW = 150
DEADLINE_S = 60.0


@pytest.mark.parametrize("packs", [False, True], ids=["plain", "packing"])
def test_full_disk(packs: bool, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:  # noqa: FBT001
    with tmpfs(tmp_path / "disk", 96) as disk:
        entry = Entry("disk filled and freed (tmpfs)" + (" amid packing" if packs else ""))
        obstruct, free = lambda: fill(disk), (disk / "filler").unlink
        settings = SETTINGS | (PACKING if packs else {})
        stats = torment(disk / "run", tmp_path, programs, scale.times(20), entry, obstruct, free, settings)
        assert (stats["shards_packed"] > 0) == packs
        ledger.enter(entry)


def test_file_size_limit(fast_dir: Path, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    tally = Tally(tmp_path / "tally")

    def command(number: int) -> None:
        tally[STATE] = number
        wait_until(lambda: tally[STATE] == 0, DEADLINE_S, "the command is carried out")

    entry = Entry("limit on the size of files (`ulimit -f`), amid a line")
    torment(fast_dir / "run", tmp_path, programs, scale.times(20), entry, lambda: command(2), lambda: command(3))
    ledger.enter(entry)


def test_read_only(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """After an error ext4 is read-only until it is mounted again, which no process with open files lives to see."""
    entry = Entry("ext4 turned read-only (`errors=remount-ro`)", longest_log_s=0)
    dropped = 0
    for number in range(scale.times(20)):
        with loop(tmp_path / f"disk-{number}", "ext4", 64, "errors=remount-ro") as disk:
            tally = Tally(tmp_path / f"tally-{number}")
            program = programs.start("steady", disk / "run", tally.path, json.dumps(SETTINGS))
            wait_for_calls(program, tally, 1000)
            safe = tally[ACCEPTED]
            wait_until(lambda: size_of(disk / "run") > safe * SHORTEST_ROW, DEADLINE_S, "rows are written")  # noqa: B023 - used at once
            run("sync", "-f", disk)
            make_read_only(disk)
            wait_for_calls(program, tally, EPISODE_CALLS)
            stats = finish(program, tally, entry, TURNING_S)["stats"]
            calls = tally[ACCEPTED]
            assert stats["rows_logged"] == calls, stats
            assert stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"] == calls, stats
            assert stats["rows_dropped"] > 0, stats
            assert stats["write_errors"] > 0, stats
            mount_again(disk)
            judgement = judge(disk / "run", rows_of({"main": [range(safe)]}, ["loss"]))
            judgement.require_perfect()
            entry.attempts += 1
            entry.accepted += judgement.accepted
            dropped += stats["rows_dropped"]
    entry.note = f"rows on the disk before that were accepted; {dropped:,} rows dropped and counted"
    ledger.enter(entry)


def torment(
    directory: Path,
    scratch: Path,
    programs: Programs,
    times: int,
    entry: Entry,
    obstruct: Callable[[], object],
    free: Callable[[], object],
    settings: dict[str, object] = SETTINGS,
) -> dict[str, int]:
    tally = Tally(scratch / "tally")
    program = programs.start("steady", directory, tally.path, json.dumps(settings))
    wait_for_calls(program, tally, 100)
    resumed_s = 0.0
    for _ in range(times):
        obstruct()
        wait_for_calls(program, tally, EPISODE_CALLS)
        free()
        before = end_of(directory)
        resumed_s = max(resumed_s, wait_until(lambda: end_of(directory) != before, DEADLINE_S, "writing resumes"))  # noqa: B023 - used at once
        wait_for_calls(program, tally, 500)
    told = finish(program, tally, entry)
    stats = told["stats"]
    calls = tally[ACCEPTED]
    judgement = judge(directory, rows_of({"main": [range(calls)]}, ["loss"]))
    # What stands as lost there was dropped, and counted to the row.
    dropped = stats["rows_dropped"]
    entry.attempts = times
    entry.accepted = calls
    entry.lost = abs(judgement.lost - dropped)
    entry.doubled = judgement.doubled
    entry.torn = judgement.torn + judgement.damage["tails"]
    episodes = [took / 1e9 for took, _ in told["slow"] if took / 1e9 >= MAX_BLOCK_S]
    entry.note = (
        f"{dropped:,} rows dropped and counted; beside it one call an episode waited, at most "
        f"{max(episodes, default=0):.3f} s with max_block_s={MAX_BLOCK_S}; writing resumed within {resumed_s:.2f} s"
    )
    assert (entry.lost, entry.doubled, entry.torn, judgement.unasked) == (0, 0, 0, 0), str(judgement)
    assert told["closed"]
    assert stats["rows_logged"] == calls == stats["rows_written"] + dropped
    assert stats["rows_dropped_full"] == dropped > 0
    assert stats["write_errors"] >= times
    assert losses_on_record(directory) == dropped
    assert resumed_s < RESUME_S
    assert len(episodes) <= times, "more than one wait in an episode"
    counts: dict[str, int] = stats
    return counts


def finish(
    program: subprocess.Popen[str], tally: Tally, entry: Entry, longest_log_s: float = LONGEST_LOG_S
) -> dict[str, Any]:
    """Have the program end. Gives what it tells; no call may have taken long but one that waited for the writer."""
    tally[STATE] = 1
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    told: dict[str, Any] = json.loads(output)
    # A core that someone else took is no fault of `log`.
    others = [took / 1e9 for took, preempted in told["slow"] if took / 1e9 < MAX_BLOCK_S and not preempted]
    entry.longest_log_s = max([entry.longest_log_s or 0, *others])
    assert entry.longest_log_s <= longest_log_s, f"{told['slow']}"
    return told


def wait_for_calls(program: subprocess.Popen[str], tally: Tally, calls: int) -> None:
    first = tally[ACCEPTED]
    wait_until(lambda: tally[ACCEPTED] >= first + calls or program.poll() is not None, DEADLINE_S, "logging goes on")
    assert program.poll() is None, program.communicate()[1]


def end_of(directory: Path) -> tuple[int, int] | None:
    """Give which file is the current one, and how long it is."""
    with suppress(FileNotFoundError):
        found = (directory / "metrics.ndjson").stat()
        return found.st_ino, found.st_size
    return None


def size_of(directory: Path) -> int:
    """Add the sizes up, again where a rotation renames the files meanwhile."""
    while True:
        with suppress(FileNotFoundError):
            return sum(path.stat().st_size for path in directory.glob("metrics.ndjson*"))
