"""``codex-ndjson sync``: what it delivers, what it says and how it exits."""

from __future__ import annotations

import gzip
import json
import os
import pty
import signal
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any, cast

import pytest

import codex_obs
from codex_obs.commands.sync import _Watch
from codex_obs.testing import open_run
from terminal import everything_shown

if TYPE_CHECKING:
    from pathlib import Path

    from codex_obs._backend import SyncProgress

COMMAND = [sys.executable, "-c", "from codex_obs.cli import main; main()", "sync"]
# The command as users have it, except that it does not wait before it shows something.
EAGER = """
from codex_obs import cli
from codex_obs.commands import _progress

_progress._FIRST_AFTER_S = _progress._EVERY_S = 0.0
cli.main()
"""
NOBODY = "http://127.0.0.1:9"  # the discard port, where nothing listens
CANARY = "canary-f3b1"


def sync(*arguments: object, cwd: Path | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def results(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.fixture
def log(run_dir: Path) -> Path:
    """Give a run that ended without a server: three metrics and a row that no chart can show."""
    with codex_obs.init(run_dir, config={"lr": 0.1}, tags={"team": "x"}) as run:
        run.log({"loss": 0.5, "acc": 0.25}, step=1)
        run.log({"loss": float("inf")}, step=2, split="eval")
        run.event("TRAINER", "no step", reward=1)
    return run_dir


WITHOUT_STEP = "not sent (in the files only): 1 row without a step"
POINTS = [("train/loss", 0.5, 1), ("train/acc", 0.25, 1), ("eval/loss", "Infinity", 2)]


def test_a_run_without_a_server_is_delivered_once(tracking: Any, log: Path) -> None:
    done = sync(log, "--to", "mlflow", "--uri", tracking.uri)
    remote = f"{1:032x}"
    assert (done.returncode, done.stderr) == (0, f"{log}: {WITHOUT_STEP}\n")
    page = f"{tracking.uri}/#/experiments/0/runs/{remote}"
    assert done.stdout == f"{log}: 3 points delivered to MLflow run {remote}; run marked finished\n{log}: {page}\n"
    assert tracking.points() == POINTS
    assert tracking.runs[remote]["info"]["status"] == "FINISHED"
    assert {"key": "lr", "value": "0.1"} in tracking.runs[remote]["data"]["params"]
    assert {"key": "team", "value": "x"} in tracking.runs[remote]["data"]["tags"]
    before = sum("metrics" in body and bool(body["metrics"]) for _, body in tracking.calls)
    again = sync(log, "--uri", tracking.uri)
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout.startswith(f"{log}: nothing new")
    assert sum("metrics" in body and bool(body["metrics"]) for _, body in tracking.calls) == before


def test_the_result_as_json(tracking: Any, log: Path) -> None:
    done = sync(log, "--uri", tracking.uri, "--json")
    assert results(done) == [
        {
            "dry_run": False,
            "directory": str(log),
            "stream": "main",
            "delivered": 3,
            "rejected": 0,
            "spans": 0,
            "params": 1,
            "lines_skipped": 0,
            "rows_structured": 0,
            "rows_without_step": 1,
            "rows_without_value": 0,
            "rows_missing": 0,
            "gaps": 0,
            "mlflow_run_id": f"{1:032x}",
            "page": f"{tracking.uri}/#/experiments/0/runs/{1:032x}",
            "status": "finished",
            "done": True,
            "problem": None,
        }
    ]
    assert (done.returncode, done.stderr) == (0, f"{log}: {WITHOUT_STEP}\n")


def test_a_dry_run_counts_and_says_nothing_to_the_server(tracking: Any, log: Path) -> None:
    before = {path: path.read_bytes() for path in log.rglob("*") if path.is_file()}
    done = sync(log, "--uri", tracking.uri, "--dry-run")
    words = (
        f"{log}: 3 points, 1 parameter, 1 tag and the status finished would be delivered to the MLflow run with "
        "this run's tag, or a new one\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, words, f"{log}: {WITHOUT_STEP}\n")
    (counted,) = results(sync(log, "--uri", tracking.uri, "--dry-run", "--json"))
    assert (counted["dry_run"], counted["done"], counted["problem"]) == (True, False, None)
    assert (counted["delivered"], counted["params"], counted["tags"], counted["status"]) == (3, 1, 1, "finished")
    assert tracking.calls == []
    assert {path: path.read_bytes() for path in log.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("variable", ["CODEX_OBS_MLFLOW_TRACKING_URI", "MLFLOW_TRACKING_URI"])
def test_the_address_may_stand_in_the_environment(variable: str, tracking: Any, log: Path) -> None:
    variables = {"MLFLOW_TRACKING_URI": NOBODY, variable: tracking.uri}
    assert sync(log, **variables).returncode == 0
    assert tracking.points() == POINTS


def test_without_a_directory_it_takes_the_one_that_summarize_takes(tracking: Any, log: Path) -> None:
    done = sync("--uri", tracking.uri, cwd=log)
    assert (done.returncode, done.stderr) == (0, f"Delivering .\n.: {WITHOUT_STEP}\n")
    assert tracking.points() == POINTS


def test_several_runs_are_delivered_to_a_run_each(tracking: Any, tmp_path: Path) -> None:
    for number in range(2):
        with codex_obs.init(tmp_path / str(number), run_id=f"r{number}") as run:
            run.log({"loss": number}, step=number)
    done = sync(tmp_path / "0", tmp_path / "missing", tmp_path / "1", "--uri", tracking.uri)
    assert done.returncode == 2
    assert "missing does not exist" in done.stderr
    done = sync(tmp_path / "0", tmp_path / "1", "--uri", tracking.uri)
    assert done.returncode == 0
    assert done.stdout.count("1 point delivered") == 2
    assert len(tracking.runs) == 2


def test_an_experiment_and_a_run_can_be_named(tracking: Any, log: Path) -> None:
    assert sync(log, "--uri", tracking.uri, "--experiment-id", "12").returncode == 0
    assert [run["info"]["experiment_id"] for run in tracking.runs.values()] == ["12"]
    remote = tracking.answer("runs/create", {"experiment_id": "0", "tags": []})["run"]["info"]["run_id"]
    assert sync(log, "--uri", tracking.uri, "--run-id", remote).returncode == 0
    keys = [metric["key"] for metric in tracking.runs[remote]["data"]["metrics"]]
    assert keys == [name for name, *_ in POINTS]


def test_every_stream_is_delivered_when_all_are_asked_for(tracking: Any, run_dir: Path) -> None:
    for rank in (0, 2):
        with codex_obs.init(run_dir, rank=rank) as run:
            run.log({"loss": rank}, step=1)
    assert [result["stream"] for result in results(sync(run_dir, "--uri", tracking.uri, "--json"))] == ["main"]
    done = sync(run_dir, "--uri", tracking.uri, "--export-ranks", "all")
    assert done.returncode == 0
    assert f"{run_dir}, stream rank-2: 1 point delivered" in done.stdout
    assert {name for name, *_ in tracking.points()} == {"train/loss", "rank-2/train/loss"}


def test_packed_shards_and_lines_that_are_no_rows(tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir, max_shard_bytes=1, backup_count="all") as run:
        for step in range(3):
            run.log({"loss": step}, step=step)
    packed = run_dir / "metrics.ndjson.1"
    (run_dir / "metrics.ndjson.1.gz").write_bytes(gzip.compress(packed.read_bytes() + b"no row\n"))
    packed.unlink()
    done = sync(run_dir, "--uri", tracking.uri)
    assert done.returncode == 0
    assert "1 line that is not a row was skipped" in done.stderr
    assert [step for *_, step in tracking.points()] == [0, 1, 2]


def test_a_server_that_is_gone_is_given_up_with_its_reason(log: Path) -> None:
    done = sync(log, "--uri", NOBODY, "--patience", "0.5")
    assert done.returncode == 1
    assert done.stdout.startswith(f"{log}: 0 points delivered")
    waiting, given_up = done.stderr.splitlines()
    assert waiting.startswith(f"Waiting: {NOBODY} is unreachable: Connection refused")
    assert given_up == f"{log}: gave up after 0.5 s without progress"


def test_the_reason_is_said_once_for_all_streams_and_stands_in_each_result(run_dir: Path) -> None:
    for rank in (0, 1):
        with codex_obs.init(run_dir, rank=rank) as run:
            run.log({"loss": rank}, step=1)
    done = sync(run_dir, "--uri", NOBODY, "--export-ranks", "all", "--patience", "0.5", "--json")
    assert done.returncode == 1
    assert done.stderr.count("is unreachable") == 1
    assert done.stderr.count("gave up") == 1
    problems = [result["problem"] for result in results(done)]
    assert len(problems) == 2
    assert all("gave up after 0.5 s" in problem and "is unreachable" in problem for problem in problems)


def test_a_run_that_the_server_does_not_know_ends_it_with_the_remedy(tracking: Any, log: Path) -> None:
    tracking.refusal = (404, "Run not found")
    done = sync(log, "--uri", tracking.uri, "--run-id", "0" * 32, "--json")
    assert done.returncode == 1
    (result,) = results(done)
    assert (result["delivered"], result["done"]) == (0, False)
    assert "Run not found" in result["problem"]
    assert done.stderr == f"{log}: {result['problem']}\n"
    assert f"`codex-ndjson sync {log} --to mlflow --uri {tracking.uri} --new-run`" in result["problem"]


def test_what_the_server_refuses_is_an_exit_code_and_stays_readable(tracking: Any, log: Path) -> None:
    tracking.refused_metric = "train/acc"
    done = sync(log, "--uri", tracking.uri)
    assert done.returncode == 1
    assert "2 points delivered" in done.stdout
    assert "1 point refused by the server, kept in export_rejected.ndjson" in done.stderr
    (rejected,) = (log / "export_rejected.ndjson").read_text().splitlines()
    assert '"acc"' in rejected


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--uri", "postgresql://host/x"], "--uri cannot be used: give the address of a server"),
        (["--uri", f"ftp://u:{CANARY}@host"], "--uri cannot be used: "),
        (["--uri", "http://host?a=b"], "--uri"),
        (
            ["--uri", f"http://u:{CANARY}@host:65536"],
            "--uri cannot be used: 65536 is not a port (1 to 65535; MLflow's is 5000)",
        ),
        (["--uri", NOBODY, "--run-id", "a", "--new-run"], "give one of them"),
        (["--uri", NOBODY, "--experiment-id", "1", "--experiment-name", "a"], "give one of them"),
        (["--uri", NOBODY, "--experiment-name", "a\nb"], "--experiment-name='a\\nb' cannot be used"),
        (["--uri", NOBODY, "--run-id", "a/b"], "--run-id='a/b' cannot be used"),
        (["--uri", NOBODY, "--experiment-id", "my experiment"], "not its name"),
        ([], "No server was named"),
        (["--to", "nowhere"], "'nowhere' is no destination"),
        (["--uri", NOBODY, "--patience", "-1"], "--patience"),
        (["--uri", NOBODY, "--export-ranks", "some"], "--export-ranks"),
    ],
)
def test_wrong_usage_is_exit_code_2_and_one_sentence(arguments: list[str], words: str, log: Path) -> None:
    done = sync(log, *arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert CANARY not in done.stderr


def test_a_variable_that_cannot_be_used_is_named(log: Path) -> None:
    done = sync(log, MLFLOW_TRACKING_URI="postgresql://host/x")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("MLFLOW_TRACKING_URI cannot be used: ")
    for variable in ("MLFLOW_TRACKING_URI", "CODEX_OBS_MLFLOW_TRACKING_URI"):
        variables = {"MLFLOW_TRACKING_URI": NOBODY, variable: "http://host:99999"}
        done = sync(log, cwd=None, **variables)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"{variable} cannot be used: 99999 is not a port")


def test_no_run_is_exit_code_2(tracking: Any, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("")
    (tmp_path / "copied").mkdir()
    (tmp_path / "copied" / "metrics.ndjson").write_text("")
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "run.json").write_text("")
    words_of = {
        "empty": "empty is not a run directory: it has no run.json, nor metrics. Give the directory",
        "file": "is a file",
        "missing": "does not exist",
        "copied": "copied is not a run directory: it has no run.json, which belongs to its metrics. Copy it from where",
        "runs": f"Give the runs below it, such as {tmp_path / 'runs' / 'a'}.",
    }
    for name, words in words_of.items():
        done = sync(tmp_path / name, "--uri", tracking.uri)
        assert (done.returncode, done.stdout) == (2, "")
        assert words in done.stderr
        assert len(done.stderr.splitlines()) == 1
    assert tracking.calls == []


def test_one_remote_run_and_following_are_for_one_directory(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").touch()
    for option in (["--follow"], ["--run-id", "0" * 32]):
        done = sync(tmp_path / "a", tmp_path / "b", "--uri", NOBODY, *option)
        assert (done.returncode, done.stdout) == (2, "")
        assert "takes one run directory" in done.stderr


def test_a_run_is_followed_to_its_end(tracking: Any, run_dir: Path) -> None:
    run = open_run(run_dir)
    run.log({"loss": 0.5}, step=1)
    assert run.flush(30)
    with subprocess.Popen(
        [*COMMAND, str(run_dir), "--uri", tracking.uri, "--follow"], stdout=subprocess.PIPE, text=True
    ) as follower:
        tracking.wait(tracking.points)
        run.log({"loss": 0.25}, step=2)
        run.close()
        output, _ = follower.communicate(timeout=120)
    assert follower.returncode == 0
    assert "2 points delivered" in output
    assert tracking.points() == [("train/loss", 0.5, 1), ("train/loss", 0.25, 2)]
    assert [remote["info"]["status"] for remote in tracking.runs.values()] == ["FINISHED"]


def test_a_run_that_is_being_exported_is_left_to_its_exporter(tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri, export_interval_s=0.0) as run:
        run.log({"loss": 0.5}, step=1)
        tracking.wait(tracking.points)
        done = sync(run_dir, "--uri", tracking.uri, "--patience", "0.5")
        assert done.returncode == 1
        assert "another process delivers" in done.stderr
        assert "wait for it with `--follow`" in done.stderr
    assert tracking.points() == [("train/loss", 0.5, 1)]


@pytest.mark.parametrize("dies", [True, False])
def test_a_run_that_died_is_killed_there(dies: bool, tracking: Any, run_dir: Path) -> None:  # noqa: FBT001 - parametrised
    program = "import os, sys, codex_obs\nrun = codex_obs.init(sys.argv[1])\nrun.log({'loss': 0.5}, step=1)\n"
    end = "os.kill(os.getpid(), 9)\n" if dies else "raise ValueError\n"
    subprocess.run([sys.executable, "-c", program + end, str(run_dir)], check=False, capture_output=True, timeout=60)
    done = sync(run_dir, "--uri", tracking.uri)
    assert done.returncode == 0
    assert tracking.points() == [("train/loss", 0.5, 1)]
    assert [remote["info"]["status"] for remote in tracking.runs.values()] == ["KILLED" if dies else "FAILED"]


def test_ctrl_c_ends_it_with_a_word_and_without_a_traceback(log: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        subprocess.Popen(
            [*COMMAND, str(log), "--uri", f"http://127.0.0.1:{silent.getsockname()[1]}"],
            env={**os.environ, "CODEX_OBS_EXPORT_TIMEOUT_S": "600"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as command,
        silent.accept()[0],
    ):
        command.send_signal(signal.SIGINT)
        output, errors = command.communicate(timeout=120)
    assert (command.returncode, output) == (130, "")
    assert errors.endswith("Interrupted. Delivered data stays; the same command resumes from there.\n")
    assert "Traceback" not in errors


def test_a_password_in_the_address_is_not_repeated(tracking: Any, log: Path) -> None:
    uri = tracking.uri.replace("http://", f"http://user:{CANARY}@")
    done = sync(log, "--uri", uri)
    assert (done.returncode, tracking.points()) == (0, POINTS)
    assert CANARY not in done.stdout + done.stderr
    tracking.refusal = (503, f"no {CANARY} here")
    with codex_obs.init(log) as run:
        run.log({"loss": 0.125}, step=9)
    done = sync(log, "--uri", uri, "--patience", "0.5")
    assert done.returncode == 1
    assert CANARY not in done.stdout + done.stderr
    assert CANARY.encode() not in b"".join(path.read_bytes() for path in log.rglob("*") if path.is_file())


def test_a_terminal_sees_how_far_it_has_come_and_nothing_of_it_stays(tracking: Any, log: Path) -> None:
    tracking.refusal = (503, "come back later")
    ours, theirs = pty.openpty()
    command = [sys.executable, "-c", EAGER, "sync", str(log), "--uri", tracking.uri, "--patience", "0.5"]
    with subprocess.Popen(
        command, env={**os.environ, "TERM": "xterm"}, stdout=subprocess.PIPE, stderr=theirs, stdin=theirs
    ) as process:
        os.close(theirs)
        shown = everything_shown(ours)
        assert process.wait(60) == 1
    os.close(ours)
    *lines, after = shown.split(b"\r\x1b[K")
    assert any(b"Sending: 0 % of 0 MB, 0 points" in line for line in lines)
    assert any(b"waiting: " in line for line in lines)
    assert b"Sending" not in after
    assert b"gave up after" in after


class Progress:
    def __init__(self, delivered: int, waiting: str | None, stream: str = "main", bytes_left: int = 10) -> None:
        self.stream = stream
        self.delivered = delivered
        self.rejected = 0
        self.bytes_left = bytes_left
        self.bytes_total = 20
        self.waiting = waiting


def progress(delivered: int, waiting: str | None, stream: str = "main", bytes_left: int = 10) -> SyncProgress:
    # Of the shape that it reads.
    return cast("SyncProgress", Progress(delivered, waiting, stream, bytes_left))


def test_why_it_waits_is_said_once_until_it_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    now_s = 100.0
    watch = _Watch(None, lambda: now_s)
    for waiting in ["x", "x", "y", "y", None, "y"]:
        now_s += 40.0
        assert watch(progress(0, waiting))
    assert capsys.readouterr().err.splitlines() == ["Waiting: x", "Waiting: y", "Waiting: y"]


def test_patience_begins_anew_with_every_metric() -> None:
    now_s = 100.0
    watch = _Watch(10.0, lambda: now_s)
    looks = [(0.0, 1, None), (5.0, 1, "x"), (4.9, 1, None), (0.2, 1, "x"), (0.2, 2, "x"), (9.9, 2, "x"), (0.2, 2, "x")]
    answers = []
    for later_s, delivered, waiting in looks:
        now_s += later_s
        answers.append(watch(progress(delivered, waiting)))
    assert answers == [True, True, True, False, True, True, False]
    assert watch.why_not is not None
    assert "10 s" in watch.why_not


def test_streams_that_wait_in_turn_are_no_progress() -> None:
    now_s = 100.0
    watch = _Watch(10.0, lambda: now_s)
    answers = []
    for look in range(12):
        answers.append(watch(progress(0, "x", stream=f"rank-{look % 3}")))
        now_s += 1.0
    assert answers == [True] * 10 + [False] * 2


def test_what_a_run_goes_on_to_log_is_no_progress() -> None:
    now_s = 100.0
    watch = _Watch(10.0, lambda: now_s)
    answers = []
    for look in range(12):
        answers.append(watch(progress(0, "x", bytes_left=10 + look)))
        now_s += 1.0
    assert answers == [True] * 10 + [False] * 2


def test_patience_runs_before_the_first_reason_is_known() -> None:
    for patience_s, given_up_s in ((0.0, 3), (5.0, 5)):
        clock = iter(range(20))
        watch = _Watch(patience_s, clock.__next__)
        looks = 0
        while watch(progress(0, None)):
            looks += 1
        assert looks == given_up_s
        assert watch.why_not == f"gave up after {given_up_s} s without progress: no answer yet"
    assert not _Watch(0.0)(progress(0, "x"))


def test_where_there_is_nothing_to_do_no_patience_runs_out() -> None:
    now_s = 100.0
    watch = _Watch(10.0, lambda: now_s)
    looks = [(0.0, None, 10), (60.0, None, 0), (60.0, None, 0), (0.1, None, 7), (9.0, "x", 7), (5.0, "x", 7)]
    answers = []
    for later_s, waiting, bytes_left in looks:
        now_s += later_s
        answers.append(watch(progress(0, waiting, bytes_left=bytes_left)))
    assert answers == [True] * 5 + [False]


def test_a_server_that_stays_silent_is_given_up_by_every_stream(run_dir: Path) -> None:
    for rank in (0, 1, 2):
        with codex_obs.init(run_dir, rank=rank) as run:
            run.log({"loss": rank}, step=1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        uri = f"http://127.0.0.1:{silent.getsockname()[1]}"
        done = sync(run_dir, "--uri", uri, "--export-ranks", "all", "--patience", "1", CODEX_OBS_EXPORT_TIMEOUT_S="0.1")
    assert done.returncode == 1
    assert "gave up after 1 s" in done.stderr
