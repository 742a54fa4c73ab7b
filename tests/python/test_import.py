"""Importing the package starts nothing, reads nothing but itself, imports nothing else, and takes no time."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

import codex_obs

PAIRS = 25
ATTEMPTS = 4

WATCH = """
import os, sys
opened, started = [], []
def watch(event, arguments):
    if event == "open":
        opened.append(os.fsdecode(arguments[0]) if isinstance(arguments[0], (str, bytes)) else repr(arguments[0]))
    elif event in ("_thread.start_new_thread", "subprocess.Popen", "os.fork", "socket.__new__", "os.mkdir"):
        started.append(event)
before, environment = set(sys.modules), dict(os.environ)
sys.addaudithook(watch)
import codex_obs
{then}
seen, sys_modules = list(opened), sorted(set(sys.modules) - before)
tasks = len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 1
import json
print(json.dumps([seen, started, sys_modules, tasks, environment == dict(os.environ)]))
"""


def watched(then: str = "") -> tuple[list[str], list[str], list[str], int, bool]:
    program = WATCH.replace("{then}", then)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stderr == ""
    opened, started, modules, tasks, same = json.loads(done.stdout)
    return opened, started, modules, tasks, same


def test_importing_starts_nothing_and_reads_and_imports_only_the_package() -> None:
    opened, started, modules, tasks, same_environment = watched()
    package = Path(codex_obs.__path__[0])
    assert [path for path in opened if not Path(path).is_relative_to(package)] == []
    assert {Path(path).suffix for path in opened} <= {".py", ".pyc", ".so"}
    assert (started, tasks, same_environment) == ([], 1, True)
    assert modules == ["codex_obs", "codex_obs._backend", "codex_obs._core", "codex_obs.errors"]


def test_using_a_run_imports_no_third_party_package(tmp_path: Path) -> None:
    program = f"with codex_obs.init({str(tmp_path / 'run')!r}) as run: run.log({{'loss': 0.5}})"
    _, _, modules, _, _ = watched(program)
    roots = {module.partition(".")[0] for module in modules}
    assert roots - set(sys.stdlib_module_names) == {"codex_obs"}
    assert "logging" not in roots


def test_importing_adds_little_to_the_start_of_the_interpreter() -> None:
    def seconds(program: str) -> float:
        started = time.perf_counter()
        subprocess.run([sys.executable, "-c", program], check=True)
        return time.perf_counter() - started

    seconds("import codex_obs")
    figures = []
    for _ in range(ATTEMPTS):
        pairs = [(seconds("pass"), seconds("import codex_obs")) for _ in range(PAIRS)]
        bare = statistics.median(first for first, _ in pairs)
        added = statistics.median(second - first for first, second in pairs)
        figures.append(f"{added * 1e3:.1f} ms on {bare * 1e3:.1f} ms")
        if added <= max(0.010, 0.6 * bare):
            return
    pytest.fail(f"import codex_obs added {', '.join(figures)}")


def test_every_public_name_is_there_and_no_other() -> None:
    for name in codex_obs.__all__:
        assert getattr(codex_obs, name) is not None
    assert set(codex_obs.__all__) <= set(dir(codex_obs))
    with pytest.raises(AttributeError, match="module 'codex_obs' has no attribute 'Recorder'"):
        codex_obs.Recorder  # type: ignore[attr-defined]  # noqa: B018 - the point of the test
    with pytest.raises(ImportError, match="cannot import name 'inti'"):
        exec("from codex_obs import inti", {})


@pytest.mark.parametrize("first", ["", "import codex_obs"])
def test_a_sub_interpreter_gets_a_clear_error(first: str) -> None:
    program = f"""
try:
    import _interpreters as interpreters
except ImportError:
    import _xxsubinterpreters as interpreters
{first}
where = interpreters.create()
code = '''
try:
    import codex_obs
except ImportError as error:
    print("refused:", error, flush=True)
'''
(interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string)(where, code)
import codex_obs
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    # From 3.12 on Python itself refuses, in words of its own.
    assert done.stdout.startswith("refused: ")
    assert "subinterpreter" in done.stdout.replace("-", "")
