"""One process beside all ranks of a job: many ranks, two machines, a restart by the launcher."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beside import DEADLINE_S, until

if TYPE_CHECKING:
    from beside import Place

RANKS = """
RANKS, CODE = {ranks}, '''
import codex_obs, sys
run = codex_obs.init("run", rank=int(sys.argv[1]), destinations=["whole"], export_ranks="all")
for step in range(5):
    run.log({{"loss": 0.5}}, step=step)
print("ready", flush=True)
sys.stdin.read()
sys.exit(0 if run.close(60) else 1)
'''
ranks = [
    subprocess.Popen([sys.executable, "-c", CODE, str(rank)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    for rank in range(RANKS)
]
for rank in ranks:
    assert rank.stdout.readline() == b"ready\\n"
until(lambda: len(read(TAKEN).splitlines()) == 5 * RANKS)
assert len(beside()) == 1, beside()
# Rank 0 ends last, as it does in a job.
for rank in reversed(ranks):
    rank.communicate()
assert [rank.returncode for rank in ranks] == [0] * RANKS
until(lambda: not beside())
"""
# The variables of a launcher, and then one rank of two steps.
ON_A_MACHINE = """
os.environ |= {variables!r}
run = codex_obs.init(
    RUN, destinations=["whole"], export_ranks="all", system_metrics="auto", system_metrics_interval_s=0.1
)
for step in range(2):
    run.log({{"loss": 0.5}}, step=step)
print("ready", flush=True)
sys.stdin.read()
assert run.close(60)
"""
ELASTIC = """
os.environ |= {variables!r}
# As they are started: each by itself, in the folder of the job, with no directory named.
run = codex_obs.init(destinations=["apart"], export_ranks="all")
for _ in range(3):
    run.log({{"loss": 0.5}})
print(run.path.name, run.stream, flush=True)
sys.stdin.read()
assert run.close(60)
"""


@pytest.mark.parametrize("ranks", [6, pytest.param(64, marks=pytest.mark.big)])
def test_ranks_of_a_machine_share_one_and_every_row_is_delivered_once(place: Place, ranks: int) -> None:
    words = place.train(RANKS.format(ranks=ranks))
    assert words == ""
    prefixes = ["", *(f"rank-{rank}/" for rank in range(1, ranks))]
    assert sorted(place.taken()) == sorted(f"{prefix}loss {step}" for prefix in prefixes for step in range(5))
    assert place.text("status") == "finished"


def host_of(pid: int) -> str:
    """The machine that a process takes itself to be on."""
    return str(Path(f"/proc/{pid}/ns/uts").readlink())


def on_machine(place: Place, name: str, rank: int) -> subprocess.Popen[str]:
    variables = {"RANK": str(rank), "LOCAL_RANK": "0", "WORLD_SIZE": "2", "GROUP_RANK": str(rank)}
    prefix = ("unshare", "--uts", "--net", "sh", "-c", f'hostname {name} && exec "$@"', "sh")
    trainer = place.begin(
        ON_A_MACHINE.format(variables=variables), *prefix, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert trainer.stdout is not None
    assert trainer.stdout.readline() == "ready\n"
    return trainer


@pytest.mark.root
def test_on_two_machines_each_has_one_and_the_first_delivers_for_both(place: Place) -> None:
    pytest.importorskip("psutil")
    first, second = on_machine(place, "node-a", 0), on_machine(place, "node-b", 1)
    until(lambda: len(place.taken()) == 4)
    until(lambda: len(list(place.run.glob("system_metrics*.jsonl"))) == 2)
    assert sorted(map(host_of, place.sidecars())) == sorted(map(host_of, (first.pid, second.pid)))
    assert len({host_of(pid) for pid in (first.pid, second.pid, os.getpid())}) == 3
    for trainer in (second, first):
        _, words = trainer.communicate(timeout=DEADLINE_S)
        assert (trainer.returncode, words) == (0, "")
    until(lambda: not place.sidecars())
    assert sorted(place.taken()) == ["loss 0", "loss 1", "rank-1/loss 0", "rank-1/loss 1"]
    assert place.text("status") == "finished"
    (other,) = place.run.glob("system_metrics.sidecar-node-b-*.jsonl")
    for file, host in ((place.run / "system_metrics.jsonl", "node-a"), (other, "node-b")):
        assert {json.loads(line)["host"] for line in file.read_text().splitlines()} == {host}


def elastic(place: Place, rank: int, restart: int) -> subprocess.Popen[str]:
    variables = {
        "TORCHELASTIC_RUN_ID": "job-7",
        "TORCHELASTIC_RESTART_COUNT": str(restart),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "GROUP_RANK": "0",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": "29500",
    }
    code = ELASTIC.format(variables=variables)
    return place.begin(code, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def test_a_restart_by_torchrun_goes_on_in_the_run_with_one_process_beside_it(place: Place) -> None:
    for restart in range(2):
        ranks = [elastic(place, rank, restart) for rank in range(2)]
        for rank, trainer in enumerate(ranks):
            assert trainer.stdout is not None
            assert trainer.stdout.readline().split() == ["job-7", "main" if rank == 0 else "rank-1"]
        until(lambda restart=restart: len(place.taken_apart()) == 6 * (restart + 1))  # type: ignore[misc]
        until(lambda: len(place.sidecars()) == 1)
        if restart == 0:
            for trainer in ranks:
                trainer.send_signal(signal.SIGKILL)
                trainer.communicate(timeout=DEADLINE_S)
    for trainer in reversed(ranks):
        _, words = trainer.communicate(timeout=DEADLINE_S)
        assert (trainer.returncode, words) == (0, "")
    until(lambda: not place.sidecars())
    assert sorted(place.taken_apart()) == sorted(
        f"{prefix}loss {step}" for prefix in ("", "rank-1/") for step in range(6)
    )
    assert place.text("status") == "finished"
