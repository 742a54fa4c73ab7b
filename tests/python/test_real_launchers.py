"""Launchers for real, where they are installed: MPICH, SLURM with a controller that answers, two "hosts" on one."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import time
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import codex_obs
import launchers

# Longer than any of them takes on a machine that is busy with other things.
LIMIT_S = 120
# Other tests are to see none of SLURM's variables.
CLUSTER = {name: os.environ[name] for name in ("SLURM_CONF",) if name in os.environ}


def answers(*command: str) -> bool:
    """Whether a command is there and succeeds."""
    if shutil.which(command[0]) is None:
        return False
    done = subprocess.run(command, capture_output=True, timeout=LIMIT_S, check=False)
    return done.returncode == 0


@cache
def has_mpich() -> bool:
    if shutil.which("mpiexec") is None:
        return False
    return "HYDRA" in subprocess.run(["mpiexec", "--version"], capture_output=True, text=True, check=False).stdout


@cache
def has_slurm() -> bool:
    return shutil.which("srun") is not None and answers("sinfo", "--noheader")


mpich = pytest.mark.skipif(not has_mpich(), reason="needs MPICH's mpiexec")
slurm = pytest.mark.skipif(not has_slurm(), reason="needs SLURM, with a controller that answers")


def ranks(*launcher: str, **plan: Any) -> list[str]:
    """Give the command by which a launcher starts ranks."""
    return [*launcher, sys.executable, "-c", launchers.RANK, json.dumps(plan), "0"]


def opened(said: str) -> Path:
    """Check that all ranks write one run, each its own stream, and give its directory."""
    rows, decoder, at = [], json.JSONDecoder(), 0
    # Launchers put what their ranks say into one line now and then.
    while (at := said.find("[", at)) >= 0:
        row, at = decoder.raw_decode(said, at)
        rows.append(row)
    paths, run_ids, streams = zip(*rows, strict=True)
    assert len(set(paths)) == len(set(run_ids)) == 1, rows
    assert sorted(streams) == ["main", *(f"rank-{rank}" for rank in range(1, len(streams)))]
    return Path(paths[0])


def output_of(command: list[str], folder: Path, **variables: str) -> str:
    done = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, **CLUSTER, **variables},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@mpich
def test_mpich_gives_each_training_one_run(tmp_path: Path) -> None:
    command = ranks("mpiexec", "-n", "3")
    first = opened(output_of(command, tmp_path))
    second = opened(output_of(command, tmp_path))
    at_once = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    others = [opened(process.communicate(timeout=LIMIT_S)[0]) for process in at_once]
    assert len({first, second, *others}) == 4
    assert len(list((tmp_path / "runs").iterdir())) == 4


torchrun = pytest.mark.skipif(shutil.which("torchrun") is None, reason="needs torchrun")
accelerate = pytest.mark.skipif(shutil.which("accelerate") is None, reason="needs accelerate")
# Each agent takes a port of its own.
TORCHRUN = ("torchrun", "--standalone", "--nproc-per-node", "3", "--no-python")


@pytest.mark.big
@torchrun
@pytest.mark.parametrize("options", [(), ("--rdzv-id", "exp")], ids=["", "with an id"])
def test_torchrun_gives_each_training_one_run(options: tuple[str, ...], tmp_path: Path) -> None:
    command = ranks(*TORCHRUN[:-1], *options, TORCHRUN[-1])
    first = opened(output_of(command, tmp_path))
    second = opened(output_of(command, tmp_path))
    at_once = [
        subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        for _ in range(2)
    ]
    others = [opened(process.communicate(timeout=LIMIT_S)[0]) for process in at_once]
    assert len({first, second, *others}) == 4
    for run in (first, second, *others):
        assert codex_obs.read(run).height == 9


@pytest.mark.big
@torchrun
def test_ranks_that_torchrun_starts_again_go_on_in_their_run(tmp_path: Path) -> None:
    program = (
        "import json, os, signal, codex_obs\nrun = codex_obs.init()\n"
        "restart = int(os.environ['TORCHELASTIC_RESTART_COUNT'])\n"
        "run.log({'loss': restart}, step=restart)\nrun.flush()\n"
        "if restart < 2 and os.environ['RANK'] == '1': os.kill(os.getpid(), signal.SIGKILL)\n"
        "if restart < 2: signal.pause()\n"
        "print(json.dumps([str(run.path), run.run_id, run.stream]), flush=True)\nrun.close()\n"
    )
    command = [*TORCHRUN[:-1], "--max-restarts", "2", TORCHRUN[-1], sys.executable, "-c", program]
    run = opened(output_of(command, tmp_path))
    assert [path.name for path in (tmp_path / "runs").iterdir()] == [run.name]
    rows = codex_obs.read(run)
    main = rows.filter(rows["stream"].cast(str) == "main")
    assert main["step"].to_list() == [0, 1, 2]


@pytest.mark.big
@accelerate
def test_accelerate_gives_each_training_one_run(tmp_path: Path) -> None:
    script = tmp_path / "train.py"
    script.write_text(f"import sys\nsys.argv[1:] = ['{{}}', '0']\n{launchers.RANK}")
    launch = ["accelerate", "launch", "--cpu", "--num_processes", "2", "--main_process_port", "0", str(script)]
    # It starts the interpreter that it was installed for, which has to find this package.
    found = {"PYTHONPATH": os.pathsep.join([str(Path(codex_obs.__path__[0]).parent), os.environ.get("PYTHONPATH", "")])}
    runs = [opened(output_of(launch, tmp_path, **found)) for _ in range(2)]
    assert runs[0] != runs[1]


def batch(folder: Path, text: str, *options: str, waits: bool = True) -> str:
    """Submit a script, and wait for its end; give its number."""
    script = folder / "job.sh"
    script.write_text(f"#!/bin/sh\n{text}\n")
    words = ["sbatch", "--parsable", "--overcommit", "--output", "out-%a.txt", "--open-mode=append"]
    wait = ["--wait"] if waits else []
    return output_of([*words, *wait, *options, str(script)], folder).strip().split(";")[0]


@slurm
def test_srun_gives_each_step_one_run(tmp_path: Path) -> None:
    command = shlex.join(ranks("srun", "--overcommit", "-n", "3"))
    job = batch(tmp_path, f"{command} > first.txt\n{command} > second.txt", "-n", "3")
    runs = [opened((tmp_path / name).read_text()) for name in ("first.txt", "second.txt")]
    assert runs == [tmp_path / "runs" / f"{job}.{step}" for step in range(2)]
    # Outside of a batch script srun asks for a job of its own.
    alone = opened(output_of(ranks("srun", "--overcommit", "-n", "2"), tmp_path))
    assert alone.name.endswith(".0")
    assert alone not in runs


@slurm
def test_each_task_of_an_array_has_a_run(tmp_path: Path) -> None:
    command = shlex.join(ranks("srun", "--overcommit", "-n", "2"))
    batch(tmp_path, f"{command} > task-$SLURM_ARRAY_TASK_ID.txt", "--array=0-1", "-n", "2")
    runs = [opened((tmp_path / f"task-{task}.txt").read_text()) for task in range(2)]
    assert [run.name.partition("_")[2] for run in runs] == ["0.0", "1.0"]


@slurm
def test_a_requeued_job_goes_on_in_its_run(tmp_path: Path) -> None:
    """The script is put back into the queue after its ranks were killed, and starts from its beginning."""
    died = shlex.join(ranks("srun", "--overcommit", "-n", "2", dies=True))
    again = shlex.join(ranks("srun", "--overcommit", "-n", "2"))
    script = (
        f'if [ -z "$SLURM_RESTART_COUNT" ]; then\n{died} > first.txt\nscontrol requeue $SLURM_JOB_ID\nsleep 60\n'
        f"else\n{again} > second.txt\nfi"
    )
    job = batch(tmp_path, script, "--requeue", "-n", "2", waits=False)
    deadline = time.monotonic() + LIMIT_S
    while state := output_of(["squeue", "--noheader", "--format=%T", "--jobs", job], tmp_path).strip():
        assert time.monotonic() < deadline, state
        if (tmp_path / "first.txt").exists() and state == "PENDING":
            # What is requeued is held back for two minutes, until somebody says otherwise; it may have begun by now.
            release = ["scontrol", "update", f"JobId={job}", "StartTime=now"]
            subprocess.run(release, env={**os.environ, **CLUSTER}, capture_output=True, check=False)
        time.sleep(0.2)
    runs = [opened((tmp_path / name).read_text()) for name in ("first.txt", "second.txt")]
    assert runs[0] == runs[1]
    assert codex_obs.read(runs[0]).height == 12


@pytest.mark.skipif(
    os.geteuid() != 0 or not answers("unshare", "--net", "--uts", "--pid", "--fork", "true"),
    reason="needs to make namespaces",
)
def test_two_hosts_with_a_network_and_processes_of_their_own_know_each_other_by_the_address(tmp_path: Path) -> None:
    """Each agent has its own host name, network and process numbers, as on another machine; the folder is shared."""

    def start(node: int, port: int) -> launchers.Agent:
        alone = ("unshare", "--net", "--uts", "--pid", "--fork", "--mount-proc")
        named = ("sh", "-c", f'hostname node-{node} && ip link set lo up 2>/dev/null; exec "$@"', "sh")
        variables = launchers.torchrun(2, port=port, nodes=2, node=node, address="10.9.0.1")
        return launchers.start(tmp_path, variables, before=(*alone, *named), waits=True)

    trainings = [[start(node, port) for node in (1, 0)] for port in (29500, 29501)]
    runs = []
    for other, first in trainings:
        said = [*first.opened(), *other.opened()]
        runs.append(opened("\n".join(json.dumps(line) for line in said)))
        first.end()
        other.end()
    assert runs[0] != runs[1]
    for run in runs:
        starts = [json.loads(path.read_text().splitlines()[0]) for path in run.glob("run*.ndjson")]
        assert sorted(start["host"] for start in starts) == ["node-0"] * 2 + ["node-1"] * 2
        assert codex_obs.read(run).height == 12
