"""One run per training, whoever launches it: never two in one, never one in two."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
import launchers

if TYPE_CHECKING:
    from collections.abc import Callable


@pytest.fixture(autouse=True)
def _no_launcher_started_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("SLURM_", "OMPI_", "PMI", "TORCHELASTIC_")):
            monkeypatch.delenv(name)


def one_run(opened: list[tuple[str, str, str]]) -> Path:
    """Check that all ranks write one run, each its own stream, and return its directory."""
    paths, run_ids, streams = zip(*opened, strict=True)
    assert len(set(paths)) == len(set(run_ids)) == 1, opened
    assert list(streams) == ["main", *(f"rank-{rank}" for rank in range(1, len(streams)))]
    return Path(paths[0])


def trained(directory: Path, *environments: Any, **plan: Any) -> list[Path]:
    """Run a training to its end and return where each start of its ranks wrote."""
    agent = launchers.start(directory, *environments, **plan)
    paths = [one_run(agent.opened()) for _ in environments]
    agent.end()
    return paths


LAUNCHERS: dict[str, Callable[[], list[dict[str, str]]]] = {
    "torchrun": lambda: launchers.torchrun(3),
    "torchrun with an id": lambda: launchers.torchrun(3, run_id="exp"),
    "srun": lambda: launchers.slurm(3),
    "mpich": lambda: launchers.hydra(3),
    "open mpi 4": lambda: launchers.open_mpi(3),
    "open mpi 5": lambda: launchers.open_mpi(3, "prterun-host-77@1"),
}


@pytest.mark.parametrize("launcher", LAUNCHERS)
@pytest.mark.parametrize("wrapper", [(), ("sh", "-c", '"$@"; exit $?', "sh")], ids=["", "in a shell each"])
def test_two_trainings_at_once_are_two_runs(launcher: str, wrapper: tuple[str, ...], tmp_path: Path) -> None:
    if launcher in ("srun", "open mpi 5"):
        pytest.skip("each launch of these has a name of its own")
    agents = [launchers.start(tmp_path, LAUNCHERS[launcher](), wrapper=wrapper, waits=True) for _ in range(2)]
    runs = [one_run(agent.opened()) for agent in agents]
    assert runs[0] != runs[1]
    for agent in agents:
        agent.end()
    for run in runs:
        assert codex_obs.read(run).height == 9
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {run.name for run in runs}


@pytest.mark.parametrize("launcher", LAUNCHERS)
def test_two_trainings_one_after_the_other_are_two_runs(launcher: str, tmp_path: Path) -> None:
    first = trained(tmp_path, LAUNCHERS[launcher]())
    second = trained(tmp_path, LAUNCHERS[launcher]())
    assert first != second


@pytest.mark.parametrize("run_id", ["none", "exp", ""])
def test_a_restart_by_the_agent_goes_on_in_its_run(run_id: str, tmp_path: Path) -> None:
    restarts = [launchers.torchrun(2, run_id=run_id, restart=count, port=29500 + count) for count in range(3)]
    paths = trained(tmp_path, *restarts, dies=True)
    assert len(set(paths)) == 1
    assert codex_obs.read(paths[0]).height == 18
    assert trained(tmp_path, launchers.torchrun(2, run_id=run_id), init={"config": {"lr": 1}})[0] != paths[0]


def test_a_job_that_died_goes_on_under_its_name_only_with_the_same_config(tmp_path: Path) -> None:
    job = launchers.torchrun(2, run_id="exp")
    (first,) = trained(tmp_path, job, dies=True, init={"config": {"lr": 1}})
    assert trained(tmp_path, job, dies=True, init={"config": {"lr": 2}}) == [tmp_path / "runs" / "exp-2"]
    assert trained(tmp_path, job, init={"config": {"lr": 1}}) == [first]
    assert trained(tmp_path, job, init={"config": {"lr": 1}}) == [tmp_path / "runs" / "exp-3"], "it has finished"


def test_steps_and_array_tasks_of_slurm_are_runs_of_their_own(tmp_path: Path) -> None:
    jobs = [launchers.slurm(2, job=4711, step=step) for step in range(2)]
    jobs += [launchers.slurm(2, job=4712 + task, task=task) for task in range(2)]
    names = [trained(tmp_path, job)[0].name for job in jobs]
    assert names == ["4711.0", "4711.1", "4712_0.0", "4713_1.0"]


def test_a_requeued_job_goes_on_in_its_runs(tmp_path: Path) -> None:
    """A batch script that trains twice is requeued in its second training, and then starts from its beginning."""
    batch = [{"SLURM_JOB_ID": "9", "SLURM_PROCID": "0", "SLURM_NTASKS": "4"}]
    again = [{**batch[0], "SLURM_RESTART_COUNT": "1"}]
    first = trained(tmp_path, batch, init={"config": {"lr": 1}}, dies=True)
    second = trained(tmp_path, batch, init={"config": {"lr": 2}}, dies=True)
    assert first != second
    assert trained(tmp_path, again, init={"config": {"lr": 1}}) == first
    assert trained(tmp_path, again, init={"config": {"lr": 2}}) == second
    assert trained(tmp_path, again, init={"config": {"lr": 3}}) == [tmp_path / "runs" / "9-3"]


def test_two_trainings_at_once_in_one_slurm_job_without_config(tmp_path: Path) -> None:
    environment = {**os.environ, "SLURM_JOB_ID": "5", "SLURM_PROCID": "0", "SLURM_NTASKS": "1"}
    program = (
        "import sys, codex_obs\nrun = codex_obs.init()\nrun.log({'loss': 1})\nprint(run.path, flush=True)\n"
        "sys.stdin.readline()\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program],
            cwd=tmp_path,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(3)
    ]
    paths = {process.stdout.readline().strip() for process in processes if process.stdout}
    assert paths == {str(tmp_path / "runs" / name) for name in ("5", "5-2", "5-3")}
    for process in processes:
        process.communicate("\n", timeout=60)


def test_ranks_that_come_late_and_before_rank_0_are_waited_for(tmp_path: Path) -> None:
    trained(tmp_path, launchers.torchrun(2))
    agent = launchers.start(tmp_path, launchers.torchrun(3), delay={"0": 1.0, "2": 2.0})
    one_run(agent.opened())
    agent.end()


def test_eight_ranks_that_start_within_a_second_share_one_run(tmp_path: Path) -> None:
    agent = launchers.start(tmp_path, launchers.torchrun(8))
    assert codex_obs.read(one_run(agent.opened())).height > 0
    agent.end()


@pytest.mark.parametrize("run_id", ["none", "exp"])
def test_ranks_on_several_hosts_know_each_other_by_the_address(run_id: str, tmp_path: Path) -> None:
    def nodes(port: int) -> list[launchers.Agent]:
        return [
            launchers.start(
                tmp_path,
                launchers.torchrun(1, run_id=run_id, port=port, nodes=2, node=node, address="10.0.0.7"),
                waits=True,
            )
            for node in (1, 0)
        ]

    trainings = [nodes(29500), nodes(29501)]
    runs = [one_run([*zero.opened(), *one.opened()]) for one, zero in trainings]
    assert runs[0] != runs[1]
    for one, zero in trainings:
        one.end()
        zero.end()
    (one, zero) = nodes(29500)
    assert one_run([*zero.opened(), *one.opened()]) not in runs, "the same address, later"
    one.end()
    zero.end()


def test_several_hosts_without_anything_in_common_are_an_error_that_says_so(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in launchers.hydra(4)[3].items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MPI_LOCALNRANKS", "2")
    with pytest.raises(codex_obs.SettingError, match="run_dir or name"):
        codex_obs.init()
    assert list(working_directory.iterdir()) == []
    with codex_obs.init(name="given") as run:
        assert run.stream == "rank-3"


def test_lightnings_launcher_starts_the_other_ranks_from_rank_0(tmp_path: Path) -> None:
    program = (
        "import json, os, subprocess, sys, codex_obs\n"
        "run = codex_obs.init()\nrun.log({'a': 1})\n"
        "if 'LOCAL_RANK' not in os.environ:\n"
        "    env = {**os.environ, 'NODE_RANK': '0', 'WORLD_SIZE': '3'}\n"
        "    env |= {'MASTER_ADDR': '127.0.0.1', 'MASTER_PORT': '1'}\n"
        "    ranks = [subprocess.Popen([sys.executable, *sys.orig_argv[1:]], env={**env, 'LOCAL_RANK': str(rank)})\n"
        "             for rank in (1, 2)]\n"
        "    for rank in ranks: assert rank.wait() == 0\n"
        "print(json.dumps([str(run.path), run.run_id, run.stream]))\n"
    )
    for _ in range(2):
        subprocess.run(
            [sys.executable, "-c", program], cwd=tmp_path, check=True, stdout=subprocess.DEVNULL, timeout=100
        )
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert sorted(set(codex_obs.read(run)["stream"].cast(str))) == ["main", "rank-1", "rank-2"]


LIGHTNING_INSIDE_FIT = """
import os, socket, subprocess, sys, time
import codex_obs
if "LOCAL_RANK" not in os.environ:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        os.environ["MASTER_PORT"] = str(found.getsockname()[1])
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "NODE_RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "3"}
    command = [sys.executable, *sys.orig_argv[1:]]
    ranks = [subprocess.Popen(command, env={**os.environ, "LOCAL_RANK": str(rank)}) for rank in (1, 2)]
rank = os.environ["LOCAL_RANK"]
time.sleep(1.0 if rank == sys.argv[1] else 0.0)
with codex_obs.init() as run:
    run.log({"rank": int(rank)})
assert rank != "0" or [other.wait() for other in ranks] == [0, 0]
"""


@pytest.mark.parametrize("late", ["0", "1", "2"])
def test_ranks_that_lightnings_launcher_started_before_rank_0_opened_its_run_join_that(
    late: str, tmp_path: Path
) -> None:
    """Rank 0 starts the others inside `fit`, and all of them open the run there; two such trainings stay apart."""
    command = [sys.executable, "-c", LIGHTNING_INSIDE_FIT, late]
    trainings = [subprocess.Popen(command, cwd=tmp_path) for _ in range(2)]
    assert [training.wait(timeout=100) for training in trainings] == [0, 0]
    runs = list((tmp_path / "runs").iterdir())
    assert len(runs) == 2
    for run in runs:
        assert sorted(codex_obs.read(run)["stream"].cast(str)) == ["main", "rank-1", "rank-2"]


def test_processes_that_rank_0_starts_belong_to_its_run(tmp_path: Path) -> None:
    program = (
        "import os, subprocess, sys, codex_obs\nrun = codex_obs.init()\nrun.log({'a': 1})\n"
        "if len(sys.argv) < 2:\n"
        "    subprocess.run([sys.executable, '-c', sys.orig_argv[2], 'child'], check=True)\n"
        "    if (child := os.fork()) == 0:\n"
        "        assert codex_obs.init().path == run.path; os._exit(0)\n"
        "    assert os.waitpid(child, 0)[1] == 0\n"
    )
    for variables in (launchers.torchrun(1)[0], {"SLURM_JOB_ID": "6"}):
        folder = tmp_path / variables.get("SLURM_JOB_ID", "elastic")
        folder.mkdir()
        subprocess.run(
            [sys.executable, "-c", program], cwd=folder, env={**os.environ, **variables}, check=True, timeout=100
        )
        (run,) = (folder / "runs").iterdir()
        assert codex_obs.read(run)["stream"].n_unique() == 2


@pytest.mark.parametrize("resume", ["new", "never", "must"])
def test_ranks_wait_for_the_directory_that_rank_0_takes(resume: str, tmp_path: Path) -> None:
    directory = tmp_path / "given"
    plan: dict[str, Any] = {"dir": [str(directory)], "init": {"resume": resume}, "delay": {"0": 0.5}}
    if resume != "never":
        with codex_obs.init(directory):
            pass
    expected = {"new": "given-2", "never": "given", "must": "given"}[resume]
    assert trained(tmp_path, launchers.torchrun(3), **plan) == [tmp_path / expected]
    if resume == "new":
        assert trained(tmp_path, launchers.torchrun(3), **plan) == [tmp_path / "given-3"]


def test_several_runs_of_one_job_stay_apart(tmp_path: Path) -> None:
    program = (
        "import os, sys, time, codex_obs\n"
        "for fold in range(3):\n"
        "    time.sleep(0.3 * (os.environ['RANK'] == '0'))\n"
        "    with codex_obs.init() as run: run.log({'fold': fold}, step=fold)\n"
    )
    agent = (
        "import os, subprocess, sys\n"
        "env = {**os.environ, 'WORLD_SIZE': '2', 'LOCAL_WORLD_SIZE': '2'}\n"
        "ranks = [subprocess.Popen([sys.executable, '-c', sys.argv[1]], env={**env, 'RANK': str(rank)})\n"
        "         for rank in range(2)]\n"
        "assert [rank.wait() for rank in ranks] == [0, 0]\n"
    )
    subprocess.run([sys.executable, "-c", agent, program], cwd=tmp_path, check=True, timeout=100)
    found = []
    for run in (tmp_path / "runs").iterdir():
        frame = codex_obs.read(run)
        assert set(frame["stream"].cast(str)) == {"main", "rank-1"}
        found.append(set(frame["step"]))
    assert sorted(found, key=min) == [{0}, {1}, {2}]


def test_a_rank_without_rank_0_gives_up_and_names_the_remedy(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("codex_obs._job.PATIENCE_S", 0.3)
    for name, value in launchers.torchrun(2)[1].items():
        monkeypatch.setenv(name, value)
    before = time.monotonic()
    with pytest.raises(codex_obs.ConflictError, match=r"rank 1 has waited .* run_dir"):
        codex_obs.init()
    assert time.monotonic() - before < 30
    assert not (working_directory / "runs").exists()


def test_waiting_hears_ctrl_c(tmp_path: Path) -> None:
    program = "import codex_obs\nprint(flush=True)\ntry: codex_obs.init()\nexcept KeyboardInterrupt: print('heard')"
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env={**os.environ, **launchers.torchrun(2)[1]},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(1.0)  # it is to be waiting; there is nothing else that tells
    process.send_signal(2)
    assert process.communicate(timeout=30)[0] == "heard\n"


def test_a_rank_that_is_left_over_is_no_job(tmp_path: Path) -> None:
    for variables in ({"RANK": "1"}, {"RANK": "1", "WORLD_SIZE": "1"}, {"LOCAL_RANK": "2"}):
        done = subprocess.run(
            [
                sys.executable,
                "-c",
                "import codex_obs\nwith codex_obs.init() as run: run.log({'a': 1})\nprint(run.stream)",
            ],
            cwd=tmp_path,
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        assert done.stdout.startswith("rank-")
        assert "Unset that variable" in done.stderr or "WORLD_SIZE" in variables
    assert len(list((tmp_path / "runs").iterdir())) == 3
