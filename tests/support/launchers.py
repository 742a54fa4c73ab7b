"""Launchers of distributed jobs as process trees: an agent starts ranks with the variables that the real one sets."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# One rank: opens a run as the agent was told, logs, says where, and waits for the word to end.
RANK = """
import json, os, sys, time, codex_obs
plan = json.loads(sys.argv[1])
time.sleep(plan.get("delay", {}).get(sys.argv[2], 0))
run = codex_obs.init(*plan.get("dir", []), **plan.get("init", {}))
for step in range(3):
    run.log({"loss": step}, step=step)
print(json.dumps([str(run.path), run.run_id, run.stream]), flush=True)
if plan.get("waits"):
    sys.stdin.readline()
if plan.get("dies"):
    import signal
    run.flush()
    os.kill(os.getpid(), signal.SIGKILL)
run.close()
"""

# The agent: starts every rank at once, twice if it has to restart them, and passes on what they say.
AGENT = """
import json, os, subprocess, sys
rank_program, plan, environments, wrapper = json.loads(sys.stdin.readline())
for environment in environments:
    ranks = [subprocess.Popen([*wrapper, sys.executable, "-c", rank_program, json.dumps(plan), str(number)],
             env={**os.environ, **variables}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
             for number, variables in enumerate(environment)]
    said = [rank.stdout.readline() for rank in ranks]
    print(json.dumps([json.loads(line) if line else None for line in said]), flush=True)
    if plan.get("waits"):
        sys.stdin.readline()
    for rank in ranks:
        rank.communicate("\\n")
"""


@dataclass
class Agent:
    """A running agent."""

    process: subprocess.Popen[str]

    def opened(self) -> list[tuple[str, str, str]]:
        """Give path, run id and stream of each rank, once all have opened theirs."""
        assert self.process.stdout is not None
        return [tuple(said) for said in json.loads(self.process.stdout.readline())]

    def end(self) -> None:
        """Let the ranks end, and wait for them."""
        self.process.communicate("\n", timeout=120)
        assert self.process.returncode == 0


def start(
    directory: Path,
    *environments: Sequence[Mapping[str, str]],
    wrapper: Sequence[str] = (),
    before: Sequence[str] = (),
    inherited: Mapping[str, str] | None = None,
    **plan: Any,
) -> Agent:
    """Start an agent in a working directory.

    Args:
        directory: The working directory.
        *environments: For each start of the ranks the variables of each rank.
        wrapper: A command that each rank is started by, such as a shell.
        before: A command that the agent itself is started by.
        inherited: Variables of the agent.
        **plan: What the ranks do: ``init`` (arguments), ``dir``, ``waits``, ``dies``, ``delay`` (seconds by rank).
    """
    process = subprocess.Popen(
        [*before, sys.executable, "-c", AGENT],
        cwd=directory,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, **(inherited or {})},
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps([RANK, plan, environments, list(wrapper)]) + "\n")
    process.stdin.flush()
    return Agent(process)


def torchrun(
    size: int,
    *,
    run_id: str = "none",
    restart: int = 0,
    port: int = 29500,
    nodes: int = 1,
    node: int = 0,
    address: str = "127.0.0.1",
) -> list[dict[str, str]]:
    """Give the variables that an elastic agent sets for the ranks of one node."""
    return [
        {
            "TORCHELASTIC_RUN_ID": run_id,
            "TORCHELASTIC_RESTART_COUNT": str(restart),
            "RANK": str(node * size + local),
            "LOCAL_RANK": str(local),
            "WORLD_SIZE": str(size * nodes),
            "LOCAL_WORLD_SIZE": str(size),
            "GROUP_RANK": str(node),
            "GROUP_WORLD_SIZE": str(nodes),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
        }
        for local in range(size)
    ]


def slurm(
    size: int, *, job: int = 4711, step: int = 0, task: int | None = None, restart: int = 0, nodes: int = 1
) -> list[dict[str, str]]:
    """Give the variables that `srun` sets for each task of a job step."""
    array = {} if task is None else {"SLURM_ARRAY_JOB_ID": "4700", "SLURM_ARRAY_TASK_ID": str(task)}
    return [
        {
            "SLURM_JOB_ID": str(job),
            "SLURM_STEP_ID": str(step),
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank % -(-size // nodes)),
            "SLURM_NTASKS": str(size),
            "SLURM_STEP_NUM_NODES": str(nodes),
            "SLURM_NODEID": str(rank * nodes // size),
            "SLURM_RESTART_COUNT": str(restart),
            **array,
        }
        for rank in range(size)
    ]


def hydra(size: int) -> list[dict[str, str]]:
    """Give the variables that MPICH's `mpiexec` sets on one host."""
    return [
        {"PMI_RANK": str(rank), "PMI_SIZE": str(size), "MPI_LOCALRANKID": str(rank), "MPI_LOCALNRANKS": str(size)}
        for rank in range(size)
    ]


def open_mpi(size: int, namespace: str | None = None) -> list[dict[str, str]]:
    """Give the variables that Open MPI's `mpirun` sets on one host; version 5 has a namespace."""
    shared = {} if namespace is None else {"PMIX_NAMESPACE": namespace}
    return [
        {
            "OMPI_COMM_WORLD_RANK": str(rank),
            "OMPI_COMM_WORLD_SIZE": str(size),
            "OMPI_COMM_WORLD_LOCAL_RANK": str(rank),
            "OMPI_COMM_WORLD_LOCAL_SIZE": str(size),
            **shared,
        }
        for rank in range(size)
    ]
