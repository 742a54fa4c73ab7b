"""Whoever follows the files beside kills and recoveries reads every line once, and sees no file shrink."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import codex_obs
from faults.follower import Follower
from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.tally import ACCEPTED, Tally, wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
DEADLINE_S = 60.0


def test_followers_read_each_line_once(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("tail -F beside SIGKILL and recovery")
    directory = tmp_path / "run"
    directory.mkdir()
    rng = random.Random(1)
    followers = [Follower(directory, pattern) for pattern in ("metrics.*ndjson*", "metrics_manifest.*ndjson*")]
    accepted, start = [], 0
    for kill in range(scale.times(50, least=3)):
        tally = Tally(tmp_path / f"tally-{kill}")
        tally[ACCEPTED] = start
        victim = programs.start("logger", directory, tally.path, start, 0, 0)
        until = start + int(10 ** rng.uniform(0, 3.5))
        wait_until(lambda: tally[ACCEPTED] >= until or victim.poll() is not None, DEADLINE_S, "it logs")  # noqa: B023
        assert victim.poll() is None, victim.communicate()[1]
        victim.kill()
        victim.communicate()
        accepted.append(range(start, tally[ACCEPTED]))
        start = tally[ACCEPTED] + 1
        # Every other time it is the next session that recovers.
        if kill % 2:
            codex_obs.recover(directory)
        entry.attempts += 1
    judgement = judge(directory, rows_of({"main": accepted}, METRICS))
    entry.accepted, entry.lost, entry.doubled = judgement.accepted, judgement.lost, judgement.doubled
    for follower, files in zip(followers, ("metrics.ndjson*", "metrics_manifest.ndjson*"), strict=True):
        lines = follower.end()
        stored = [line for path in directory.glob(files) for line in path.read_bytes().splitlines(keepends=True)]
        # What shrinks by less than a line was torn. Nobody reads that as a line.
        entry.torn += len(follower.shrunk)
        assert follower.shrunk == []
        assert sorted(lines) == sorted(stored)
        assert len(set(lines)) == len(lines)
    judgement.require_perfect()
    ledger.enter(entry)
