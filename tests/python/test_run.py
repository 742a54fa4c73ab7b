"""A run from opening to its end: parameters, statuses, statistics, forks and the end of the interpreter."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import re
import resource
import signal
import subprocess
import sys
import textwrap
import types
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest

import codex_obs
from codex_obs import _open_runs
from codex_obs._backend import Recorder
from codex_obs._derived import derived_parameters
from codex_obs.testing import read_rows


def statuses(run_dir: Path) -> list[object]:
    return [row.get("status", row["record"]) for row in read_rows(run_dir, "run")]


def run_program(code: str, run_dir: Path, *, expect: int = 0, environment: dict[str, str] | None = None) -> str:
    """Run a program that has `run_dir` as its argument; give what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code), str(run_dir)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environment or {})},
    )
    assert done.returncode == expect, done.stderr
    return done.stderr


@pytest.mark.parametrize("name", ["log", "flush", "stats", "run_id", "name", "stream", "closed", "directory"])
def test_the_hot_path_is_the_extension_s_own(name: str) -> None:
    assert name not in vars(codex_obs.Run)
    assert getattr(codex_obs.Run, name) is getattr(Recorder, name)
    assert not isinstance(getattr(codex_obs.Run, name), types.FunctionType)


def knows_populate_write() -> bool:
    release = re.match(r"(\d+)\.(\d+)", os.uname().release)
    return release is not None and tuple(map(int, release.groups())) >= (5, 14)


@pytest.mark.skipif(not knows_populate_write(), reason="needs Linux 5.14: nothing puts pages in place before that")
def test_no_call_of_log_waits_for_a_page(run_dir: Path) -> None:
    def faults() -> int:
        return resource.getrusage(resource.RUSAGE_THREAD).ru_minflt

    metrics, met = {"loss": 0.5}, 0
    with codex_obs.init(run_dir) as run:
        # 160 pages, half a page of frames at a time.
        for step in range(0, 8000, 20):
            before = faults()
            for offset in range(20):
                run.log(metrics, step=step + offset)
            met += faults() - before
            run.flush()
    # A page is filled every 50 calls. A few faults are the interpreter's.
    assert met < 20


def test_a_call_of_log_has_no_python_frame(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        frames: list[str] = []
        sys.setprofile(lambda frame, event, _: frames.append(frame.f_code.co_name) if event == "call" else None)
        try:
            run.log({"loss": 0.5, "accuracy": 1}, step=1, split="eval", tags={"phase": "eval"})
        finally:
            sys.setprofile(None)
    assert frames == []


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (ValueError("a"), "failed"),
        (MemoryError(), "failed"),
        (ExceptionGroup("a", [ValueError()]), "failed"),
        (BaseExceptionGroup("a", [KeyboardInterrupt()]), "failed"),
        (KeyboardInterrupt(), "killed"),
        (asyncio.CancelledError(), "killed"),
        (SystemExit(1), "killed"),
        (SystemExit("a sentence"), "killed"),
        (SystemExit(0), "finished"),
        (SystemExit(None), "finished"),
        (SystemExit(), "finished"),
        (GeneratorExit(), "finished"),
    ],
    ids=repr,
)
def test_with_says_how_it_ended_and_swallows_nothing(error: BaseException | None, status: str, run_dir: Path) -> None:
    caught = nullcontext() if error is None else pytest.raises(type(error))
    with caught as raised, codex_obs.init(run_dir) as run:
        run.log({"loss": 0.5})
        if error is not None:
            raise error
    assert raised is None or raised.value is error
    assert run.closed
    assert statuses(run_dir) == ["start", status]
    assert len(read_rows(run_dir)) == 1


def test_a_closed_run_takes_nothing_and_counts_it(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 0.5})
    assert run.close()
    run.log({"loss": 0.4, "accuracy": 1.0})
    run.log_params({"late": 1})
    assert run.close()
    assert run.finish("failed")
    assert run.flush()
    assert statuses(run_dir) == ["start", "finished"]
    stats = run.stats()
    assert (stats["rows_logged"], stats["rows_written"], stats["rows_waiting"]) == (3, 1, 0)
    assert (stats["rows_dropped"], stats["rows_dropped_closed"]) == (2, 2)
    assert [row["value"] for row in read_rows(run_dir)] == [0.5]
    assert [row["config"] for row in read_rows(run_dir, "params")] == [{}]
    assert "late" not in run.config
    assert any("closed" in message for message in caplog.messages)


def test_statistics_have_the_names_of_the_contract(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"a": 1, "b": 2.0})
        run.flush()
        stats = run.stats()
    names = {
        "rows_logged", "rows_written", "rows_waiting", "rows_dropped", "rows_dropped_full", "rows_dropped_closed",
        "rows_retired", "rows_recovered", "bytes_written", "rotations", "write_errors", "blocked_ns",
    }  # fmt: skip
    assert names <= stats.keys()
    assert all(type(value) is int for value in stats.values())
    assert (stats["rows_logged"], stats["rows_written"], stats["rows_waiting"], stats["rows_dropped"]) == (2, 2, 0, 0)


def test_parameters_are_lines_of_their_own_and_one_merged_view(run_dir: Path) -> None:
    config = {"lr": 0.1, "batch_size": 8}
    with codex_obs.init(run_dir, config=config) as run:
        config["lr"] = 5.0
        run.log_params({"grad_accum": 2, "lr": 0.2})
        assert dict(run.config) == {"lr": 0.2, "batch_size": 8, "grad_accum": 2}
        with pytest.raises(TypeError):
            run.config["lr"] = 1  # type: ignore[index]  # the point of the test
        for wrong in (None, [("a", 1)], "a", 5):
            with pytest.raises(TypeError, match="params must be a mapping"):
                run.log_params(wrong)
    lines = read_rows(run_dir, "params")
    assert [line["config"] for line in lines] == [{"lr": 0.1, "batch_size": 8}, {"grad_accum": 2, "lr": 0.2}]
    assert [line["derived"] for line in lines] == [{"effective_batch_size": 8}, {"effective_batch_size": 16}]


@pytest.mark.parametrize(
    ("config", "world_size", "derived"),
    [
        ({}, 1, {}),
        ({"seed": 3}, 1, {"seed": 3}),
        ({"seed": None, "batch_size": 4}, None, {}),
        ({"batch_size": 4}, 1, {"effective_batch_size": 4}),
        ({"batch_size": 4, "world_size": 2}, None, {"effective_batch_size": 8}),
        ({"batch_size": 4, "gradient_accumulation_steps": 3}, 2, {"effective_batch_size": 24}),
        ({"batch_size": 4, "accumulate_grad_batches": 3}, 2, {"effective_batch_size": 24}),
        ({"batch_size": 4, "grad_accum_steps": "auto"}, 1, {}),
        ({"batch_size": 4.5}, 1, {}),
        ({"batch_size": True}, 1, {}),
        ({"batch_size": 0}, 1, {}),
        ({"batch_size": 4, "effective_batch_size": 99}, 7, {"effective_batch_size": 99}),
        ({"batch_size": 4, "effective_batch_size": None}, 7, {}),
    ],
    ids=str,
)
def test_what_follows_from_the_parameters(
    config: dict[str, object], world_size: int | None, derived: dict[str, object]
) -> None:
    assert derived_parameters(config, world_size) == derived


class Unwilling:
    """A number that raises when it is asked for its value, as a tensor on another device may."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __index__(self) -> int:
        raise self.error


@pytest.mark.parametrize("name", ["batch_size", "grad_accum", "world_size", "effective_batch_size"])
def test_a_parameter_that_raises_is_named_and_nothing_is_derived_from_it(
    run_dir: Path, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = {"batch_size": 4, "seed": 1, name: Unwilling(RuntimeError("no device"))}
    with codex_obs.init(run_dir, config=config):
        pass
    assert read_rows(run_dir, "params")[0]["derived"] == {"seed": 1}
    [said] = [
        record.getMessage() for record in caplog.records if "effective_batch_size is left out" in record.getMessage()
    ]
    assert f"{name} gives no number (RuntimeError: no device)" in said
    unread: list[str] = []
    no_number = {**config, name: Unwilling(TypeError("only one element"))}
    assert derived_parameters(no_number, None, unread.append) == {"seed": 1}
    assert unread == []


class Hostile:
    """An object that raises whatever is asked of it."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


def test_a_hostile_config_does_not_end_the_trainer(run_dir: Path) -> None:
    cycle: dict[str, Any] = {}
    cycle["self"] = cycle
    config = {"object": Hostile(), "cycle": cycle, "bytes": b"\xff", 5: "key", "nan": float("nan"), "x\udc80": "\udc80"}
    with codex_obs.init(run_dir, config=config, tags={"o": Hostile()}) as run:
        assert codex_obs.init(run_dir, config=config) is run
        run.log({"loss": 1.0})
    (line,) = read_rows(run_dir, "params")
    written = line["config"]
    assert isinstance(written, dict)
    assert (written["bytes"], written["5"], written["nan"], written["x\ufffd"]) == ("/w==", "key", "NaN", "\ufffd")
    assert len(read_rows(run_dir)) == 1


def test_a_run_shows_what_it_is(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, run_id="r1", name="first")
    assert repr(run) == f"<Run 'first' r1 at {str(run_dir)!r}, stream main, open>"
    run.close()
    assert repr(run).endswith("closed>")


def test_a_timeout_of_any_size_is_taken(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 1.0})
    assert run.flush(timeout=1e300)
    assert run.flush(None)
    with pytest.raises(ValueError, match="timeout"):
        run.flush(float("nan"))
    assert run.close(timeout=None)


def test_the_end_of_the_interpreter_closes_open_runs(run_dir: Path) -> None:
    code = """
        import sys, codex_obs
        codex_obs.init(sys.argv[1] + "/a")
        run = codex_obs.init(sys.argv[1] + "/b")
        for step in range(1000):
            run.log({"loss": 0.5}, step=step)
            codex_obs.log({"accuracy": 1.0}, step=step)
    """
    assert run_program(code, run_dir) == ""
    assert len(read_rows(run_dir / "b")) == 2000
    assert (statuses(run_dir / "a"), statuses(run_dir / "b")) == (["start", "finished"], ["start", "finished"])


@pytest.mark.parametrize(
    ("ending", "code", "status"),
    [
        ("1 / 0", 1, "failed"),
        ("raise KeyboardInterrupt", -2, "killed"),
        ("sys.exit(0)", 0, "finished"),
        # Python forgets a SystemExit before exit handlers run, and keeps its code in no place that they could look at.
        ("sys.exit(3)", 3, "finished"),
        ("with codex_obs.init(sys.argv[1]): sys.exit(3)", 3, "killed"),
    ],
)
def test_an_exception_that_ends_the_program_is_the_status(ending: str, code: int, status: str, run_dir: Path) -> None:
    program = f"import sys, codex_obs\ncodex_obs.init(sys.argv[1])\ncodex_obs.log({{'loss': 0.5}})\n{ending}\n"
    said = run_program(program, run_dir, expect=code)
    assert statuses(run_dir) == ["start", status]
    assert len(read_rows(run_dir)) == 1
    assert said.count("Traceback") == (0 if "sys.exit" in ending else 1)


def test_an_exception_from_before_the_run_is_not_its_status(run_dir: Path) -> None:
    program = """
        import sys, codex_obs
        sys.last_value = ValueError("a console's")
        codex_obs.init(sys.argv[1])
    """
    run_program(program, run_dir)
    assert statuses(run_dir) == ["start", "finished"]


def test_no_hook_and_no_signal_is_taken(run_dir: Path) -> None:
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    hooks = (sys.excepthook, sys.unraisablehook, sys.displayhook)
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0})
        assert {number: signal.getsignal(number) for number in signal.valid_signals()} == handlers
        assert (sys.excepthook, sys.unraisablehook, sys.displayhook) == hooks


def test_os_exit_leaves_rows_to_the_next_session(run_dir: Path) -> None:
    code = """
        import os, sys, codex_obs
        run = codex_obs.init(sys.argv[1])
        for step in range(1000):
            run.log({"loss": 0.5}, step=step)
        os._exit(0)
    """
    run_program(code, run_dir)
    with codex_obs.init(run_dir):
        pass
    assert [row["step"] for row in read_rows(run_dir)] == list(range(1000))
    assert statuses(run_dir) == ["start", "start", "finished"]


@pytest.mark.parametrize("ending", ["return", "raise ValueError", "raise SystemExit(3)"])
@pytest.mark.parametrize("imported", ["before", "after"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_worker_s_rows_and_status_are_complete_when_it_has_ended(
    method: str, imported: str, ending: str, run_dir: Path, tmp_path: Path
) -> None:
    early, late = ("import multiprocessing", "") if imported == "before" else ("", "import multiprocessing")
    program = f"""
import sys, codex_obs
{early}
def work(run, ready):
    for step in range(500):
        run.log({{"loss": step}}, step=step)
    {ending}
if __name__ == "__main__":
    run = codex_obs.init(sys.argv[1], run_id="r1")
    {late}
    run.log({{"loss": -1.0}})
    context = multiprocessing.get_context("{method}")
    worker = context.Process(target=work, args=(run, None))
    worker.start()
    worker.join()
    run.log({{"loss": -2.0}})
    print(worker.pid)
"""
    script = tmp_path / "program.py"
    script.write_text(program)
    done = subprocess.run([sys.executable, script, run_dir], capture_output=True, text=True, timeout=120, check=True)
    pid = int(done.stdout)
    assert [row["value"] for row in read_rows(run_dir) if row["value"] in (-1.0, -2.0)] == [-1.0, -2.0]
    rows = (run_dir / f"metrics.pid-{pid}.ndjson").read_text().splitlines()
    assert len(rows) == 500
    status = {"return": "finished", "raise ValueError": "failed", "raise SystemExit(3)": "killed"}[ending]
    if sys.version_info >= (3, 13):
        status = "finished"  # multiprocessing shows the exception to nobody any more
    records = [row for row in read_rows(run_dir, "run") if row["record"] == "finish"]
    assert [row["status"] for row in records] == ["finished", status]
    assert {row["run_id"] for row in read_rows(run_dir, "run")} == {"r1"}
    assert not list((run_dir / ".codex_obs").glob("journal-*"))


def test_a_forked_child_that_never_logs_leaves_no_trace(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 1.0})
    run.flush()
    before = sorted(path.name for path in run_dir.iterdir())
    worker = multiprocessing.get_context("fork").Process(target=run.close)
    worker.start()
    worker.join()
    assert worker.exitcode == 0
    assert sorted(path.name for path in run_dir.iterdir()) == before
    run.log({"loss": 2.0})
    assert run.close()
    assert statuses(run_dir) == ["start", "finished"]
    assert len(read_rows(run_dir)) == 2


def _open_again(run_dir: Path, connection: Any) -> None:
    inherited = _open_runs.current()
    run = codex_obs.init(run_dir)
    run.log({"loss": 3.0})
    codex_obs.log({"loss": 4.0})
    again = codex_obs.init(run_dir)
    connection.send((run is inherited, again is run, run.stream, os.getpid(), run.run_id))


def test_a_forked_child_that_opens_the_directory_gets_its_own_stream(run_dir: Path) -> None:
    run = codex_obs.init(run_dir)
    run.log({"loss": 1.0})
    receiver, sender = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_open_again, args=(run_dir, sender))
    worker.start()
    is_inherited, is_same, stream, pid, run_id = receiver.recv()
    worker.join()
    assert (is_inherited, is_same, stream, run_id) == (False, True, f"pid-{pid}", run.run_id)
    assert run.close()
    assert [row["value"] for row in read_rows(run_dir)] == [1.0, 3.0, 4.0]
    assert sorted(map(str, statuses(run_dir))) == ["finished", "finished", "start", "start"]


def _log_through_the_inherited_run(connection: Any) -> None:
    run = _open_runs.current()
    assert run is not None
    codex_obs.log({"loss": 2.0})
    again = codex_obs.init(run.path)
    connection.send((again is run, run.stream, os.getpid()))


def test_a_forked_child_that_logs_first_has_the_inherited_run(run_dir: Path) -> None:
    run = codex_obs.init(run_dir, config={"lr": 1})
    receiver, sender = multiprocessing.Pipe(duplex=False)
    worker = multiprocessing.get_context("fork").Process(target=_log_through_the_inherited_run, args=(sender,))
    worker.start()
    is_same, stream, pid = receiver.recv()
    worker.join()
    assert (is_same, stream) == (True, f"pid-{pid}")
    assert run.close()
    records = read_rows(run_dir, "run")
    assert [(row["record"], row.get("stream"), row.get("pid")) for row in records] == [
        ("start", "main", os.getpid()),
        ("finish", None, None),
        ("start", stream, pid),
        ("finish", None, None),
    ]
    assert len({row.get("config_hash") for row in records if row["record"] == "start"}) == 1


def test_at_the_end_of_the_process_only_the_thread_that_ends_it_logs_warnings(run_dir: Path) -> None:
    """A daemon thread that waits for a handler while the interpreter is taken down would abort the process."""
    program = """
        import atexit, logging, sys, threading
        import codex_obs

        class Handler(logging.Handler):
            def emit(self, record):
                print(threading.current_thread().name, record.getMessage(), file=sys.stderr)

        def log_after_the_end():
            threads = [threading.Thread(target=run.log, args=({"loss": 0.5},), name="late") for _ in range(3)]
            for thread in threads:
                thread.start()
                thread.join()
            # Rows are accepted to the last.
            assert (run.stats()["rows_logged"], run.stats()["rows_dropped"]) == (3, 0)
            run.log({"loss": 0.5})
            codex_obs._backend.emit_warnings(["from the main thread"])

        logging.getLogger("codex_obs").addHandler(Handler())
        atexit.register(log_after_the_end)
        run = codex_obs.init(sys.argv[1])
    """
    said = run_program(program, run_dir)
    assert "late" not in said
    assert said == "MainThread codex_obs: from the main thread\n"


def test_a_closed_run_holds_no_file_and_no_memory(tmp_path: Path) -> None:
    def held() -> tuple[int, int]:
        files = sum(1 for _ in Path("/proc/self/fd").iterdir())
        return files, Path("/proc/self/maps").read_text().count("/.codex_obs/journal-")

    before = held()
    runs = [codex_obs.init(tmp_path / str(number)) for number in range(10)]
    assert held()[1] >= before[1] + 10
    for run in runs:
        run.log({"loss": 0.5})
        assert run.close()
    assert held() == before
    runs[0].log({"loss": 0.5})
    assert runs[0].stats()["rows_dropped_closed"] == 1
