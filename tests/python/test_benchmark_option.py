"""Which files pytest looks at: benchmarks and faults only when asked for, and then nothing else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
# What tells a worker of pytest that it is one is not meant for what it starts.
ALONE = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}


def collected(*arguments: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", *arguments]
    done = subprocess.run(command, cwd=REPOSITORY, env=ALONE, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 5), done.stdout + done.stderr
    return {line.partition("::")[0] for line in done.stdout.splitlines() if "::" in line}


def test_benchmarks_and_faults_do_not_run_by_themselves() -> None:
    files = collected(".")
    assert "tests/python/test_benchmark_option.py" in files
    assert {file for file in files if not file.startswith("tests/") or file.startswith("tests/durability/")} == set()


def test_the_option_runs_every_benchmark_and_nothing_else() -> None:
    benches = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "benches").rglob("bench_*.py")}
    assert collected("--benchmark") == benches


def test_a_baseline_tells_of_its_machine_and_of_nobody() -> None:
    baselines = list((REPOSITORY / "benches" / "baseline").rglob("*.json"))
    assert baselines
    for path in baselines:
        facts = json.loads(path.read_text())
        assert facts["machine_info"]["cpu"]["count"] >= 1
        assert "node" not in facts["machine_info"]
        assert set(facts["commit_info"]) == {"id"}
        assert any(figure["name"] == "log, 8 floats: codex_obs" for figure in facts["benchmarks"])


def test_the_option_runs_every_fault_and_nothing_else() -> None:
    faults = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "tests" / "durability").glob("test_*.py")}
    assert collected("--durability", "1") == faults


def test_a_fault_named_among_tests_is_skipped_and_says_how_to_run_it() -> None:
    names = ["tests/durability/test_planted_names.py", "tests/durability/test_overflow.py"]
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *names]
    done = subprocess.run(command, cwd=REPOSITORY, env=ALONE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert " passed" not in done.stdout
    assert "part of the fault matrix: run it with --durability SCALE" in done.stdout
