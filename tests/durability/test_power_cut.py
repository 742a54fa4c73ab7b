"""A disk that loses power: what was synced is there afterwards, once."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest

from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.mounts import image_of, loop, mount_again, shut_down
from faults.tally import ACCEPTED, FLUSHED, Tally, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b")
CUTS = 20
# With the default policy rows are safe after the interval of one second and the sync itself: half a second, or, where
# others use the cores and the disk below too, six times the longest that a small sync beside it takes meanwhile.
INTERVAL_S = 1.0
SYNC_S = 0.5
LOOK_S = 0.02
DEADLINE_S = 60.0
RECOVER = "import codex_obs, sys; codex_obs.recover(sys.argv[1])"


@pytest.mark.parametrize("boot", ["same boot id", "another boot id"])
@pytest.mark.parametrize("policy", ["sync", "interval"])
@pytest.mark.parametrize("kind", ["ext4", "xfs"])
def test_power_cut(
    kind: str, policy: str, boot: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger
) -> None:
    entry = Entry(f"power cut on {kind}, {'`flush(sync=True)`' if policy == 'sync' else 'default policy'}, {boot}")
    rng = random.Random(3)
    at_risk = 0
    with loop(tmp_path / "disk", kind, 400) as disk:
        directory = disk / "run"
        durable: list[range] = []
        start = 0
        for cut in range(scale.times(CUTS)):
            tally = Tally(tmp_path / f"tally-{cut}")
            tally[ACCEPTED] = tally[FLUSHED] = start
            program = programs.start("synced", directory, tally.path, start, policy)
            safe = until_something_is_durable(tally, policy, start, rng, image_of(disk).with_suffix(".probe"))
            shut_down(disk)
            program.kill()
            _, errors = program.communicate()
            accepted = tally[ACCEPTED]
            mount_again(disk)
            recover(directory, tmp_path, boot)
            durable.append(range(start, safe))
            judgement = judge(directory, rows_of({"main": durable}, METRICS))
            told = f"cut {cut}: {judgement}; {errors}"
            assert (judgement.lost, judgement.doubled, judgement.torn) == (0, 0, 0), told
            entry.attempts += 1
            entry.accepted = judgement.accepted
            at_risk += accepted - safe
            start = accepted + 1
    image_of(tmp_path / "disk").with_suffix(".probe").unlink(missing_ok=True)
    entry.note = f"rows on the disk were accepted; {at_risk:,} calls were at risk"
    ledger.enter(entry)


def until_something_is_durable(tally: Tally, policy: str, start: int, rng: random.Random, probe: Path) -> int:
    """Wait a while. Gives the step before which everything has to be on the disk."""
    if policy == "sync":
        wait_until(lambda: tally[FLUSHED] > start, DEADLINE_S, "a sync returns")
        more = tally[ACCEPTED] + rng.randrange(3000)
        wait_until(lambda: tally[ACCEPTED] >= more, DEADLINE_S, "logging goes on")
        return tally[FLUSHED]
    more = tally[ACCEPTED] + rng.randrange(1, 3000)
    wait_until(lambda: tally[ACCEPTED] >= more, DEADLINE_S, "logging goes on")
    safe = tally[ACCEPTED]
    begun = time.monotonic()
    slowest_s = 0.0
    while time.monotonic() < begun + INTERVAL_S + max(SYNC_S, 6 * slowest_s):
        before = time.monotonic()
        threading.Event().wait(LOOK_S)
        sync(probe)
        slowest_s = max(slowest_s, time.monotonic() - before - LOOK_S)
    return safe


def sync(path: Path) -> None:
    """Write and sync a file."""
    with path.open("wb") as file:
        file.write(bytes(1 << 16))
        file.flush()
        os.fsync(file.fileno())


def recover(directory: Path, scratch: Path, boot: str) -> None:
    """Recover in a process that sees the boot id of another boot, or the same one."""
    command = [sys.executable, "-c", RECOVER, str(directory)]
    if boot == "another boot id":
        other = scratch / "boot_id"
        other.write_text("01234567-89ab-cdef-0123-456789abcdef\n")
        script = f'mount --bind {other} /proc/sys/kernel/random/boot_id && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
