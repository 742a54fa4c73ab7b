"""SIGKILL at random moments, several streams at once, while shards rotate."""

from __future__ import annotations

import random
import shutil
from typing import TYPE_CHECKING

from faults.judge import judge, rows_of
from faults.ledger import Entry
from faults.tally import ACCEPTED, Tally, wait_until

if TYPE_CHECKING:
    import subprocess
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

METRICS = ("a", "b", "c")
# Calls a second of each stream; 0 is as fast as it goes. Each call has a row for every metric.
STREAMS = {"main": 0, "rank-1": 200 // len(METRICS), "rank-2": 0}
KILLS_PER_RUN = 10
DEADLINE_S = 60.0


def test_kill_random(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry("SIGKILL at a random moment", longest_log_s=0)
    rng = random.Random(1)
    moments = scale.times(200, least=4)
    for first in range(0, moments, KILLS_PER_RUN):
        torment_one_run(tmp_path / f"run-{first}", programs, rng, min(KILLS_PER_RUN, moments - first), entry)
    ledger.enter(entry)


def torment_one_run(directory: Path, programs: Programs, rng: random.Random, kills: int, entry: Entry) -> None:
    accepted: dict[str, list[range]] = {stream: [] for stream in STREAMS}
    starts = dict.fromkeys(STREAMS, 0)
    for kill in range(kills):
        tallies = {stream: Tally(directory.parent / f"{directory.name}-{stream}-{kill}") for stream in STREAMS}
        victims = {}
        for rank, (stream, pace) in enumerate(STREAMS.items()):
            tallies[stream][ACCEPTED] = starts[stream]
            victims[stream] = programs.start("logger", directory, tallies[stream].path, starts[stream], rank, pace)
        for stream, victim in victims.items():
            tally, start = tallies[stream], starts[stream]
            paced = STREAMS[stream] > 0
            calls = rng.randrange(60) if paced else int(10 ** rng.uniform(0, 4.7))
            until = start + calls
            wait_until(lambda: has_logged(victim, tally, until), DEADLINE_S, f"{stream} logs")  # noqa: B023 - used at once
            victim.kill()
            victim.communicate()
            accepted[stream].append(range(start, tally[ACCEPTED]))
            # One call may be in the journal that was not counted.
            starts[stream] = tally[ACCEPTED] + 1
            entry.longest_log_s = max(entry.longest_log_s or 0, tally.longest_log_s())
    entry.attempts += kills * len(STREAMS)
    judgement = judge(directory, rows_of(accepted, METRICS))
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    judgement.require_perfect()
    assert judgement.damage == {"tails": 0, "frames": 0, "journals": 0}
    assert judgement.unasked <= kills * len(STREAMS) * len(METRICS)
    # Hundreds of MiB, of many runs.
    shutil.rmtree(directory)


def has_logged(victim: subprocess.Popen[str], tally: Tally, until: int) -> bool:
    assert victim.poll() is None, victim.communicate()[1]
    return tally[ACCEPTED] >= until
