"""Runs side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from command import start

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    configs: list[dict[str, object]] = [
        {"lr": 0.1, "opt": {"name": "adam", "eps": 1e-8}, "same": [1, 2], "one": 1, "gone": None},
        {"lr": 0.2, "opt": {"name": "adam", "eps": 1e-8}, "same": [1, 2], "one": True},
    ]
    for number, config in enumerate(configs):
        with codex_obs.init(tmp_path / "runs" / f"r{number}", config=config) as run:
            run.log({"loss": 0.5, "acc": 0.1234567 + number * 1e-7}, step=1)
            run.log({"loss": 0.25}, step=2, dataset="d")
            if number:
                run.log({"loss": 9}, step=2, split="eval")
    return tmp_path / "runs"


def compared(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    done = start("compare", *arguments, "--json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def by_key(lines: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {line["key"]: line["values"] for line in lines if line["kind"] != "run"}


def test_differences_and_what_is_the_same_are_told_apart(pair: Path) -> None:
    document = compared("r0", "r1", cwd=pair)
    assert document["runs"] == ["r0", "r1"]
    assert by_key(document["differences"]) == {
        "lr": [0.1, 0.2], "one": [1, True], "gone": [None, None],
        "train/acc.last": [0.1234567, 0.1234568], "train/acc.min": [0.1234567, 0.1234568],
        "train/acc.max": [0.1234567, 0.1234568],
        "eval/loss.last": [None, 9.0], "eval/loss.min": [None, 9.0], "eval/loss.max": [None, 9.0],
        "eval/loss.last_step": [None, 2],
    }  # fmt: skip
    assert by_key(document["same"]) == {
        "opt.name": ["adam", "adam"], "opt.eps": [1e-8, 1e-8], "same": [[1, 2], [1, 2]],
        "train/acc.last_step": [1, 1], "train/loss.last": [0.25, 0.25], "train/loss.min": [0.25, 0.25],
        "train/loss.max": [0.5, 0.5], "train/loss.last_step": [2, 2],
    }  # fmt: skip
    present = {line["key"]: line["present"] for line in document["differences"]}
    assert (present["gone"], present["eval/loss.last"], present["lr"]) == ([True, False], [False, True], [True, True])


def test_the_table_shows_differences_first_and_numbers_that_differ_differently(pair: Path) -> None:
    done = start("compare", "r0", "r1", cwd=pair, on_terminal=True)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["key", "r0", "r1"]
    # Long values go on in lines without a key.
    marks = [line.startswith("≠") for line in lines[2:] if line[lines[0].index("key")] != " "]
    assert marks == sorted(marks, reverse=True)
    (accuracy,) = [line for line in lines if "train/acc.last " in line]
    assert accuracy.split() == ["≠", "train/acc.last", "0.1234567", "0.1234568"]
    assert "train/loss.max" not in start("compare", "r0", "r1", "--differences", cwd=pair).stdout


def test_metrics_are_chosen(pair: Path) -> None:
    document = compared("r0", "r1", "-m", "eval/loss", "-m", "acc", cwd=pair)
    metrics = {key.rpartition(".")[0] for key in by_key(document["differences"] + document["same"]) if "/" in key}
    assert metrics == {"eval/loss", "train/acc"}
    done = start("compare", "r0", "r1", "-m", "lss", cwd=pair)
    assert (done.returncode, done.stderr) == (2, "None of the runs has a metric lss.\n")


def test_more_runs_than_fit_become_blocks(pair: Path) -> None:
    for number in range(2, 9):
        codex_obs.init(pair / f"r{number}", config={"lr": number}).close()
    done = start("compare", *sorted(path.name for path in pair.iterdir()), cwd=pair, on_terminal=True)
    assert done.returncode == 0
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert len(compared(*sorted(pair.iterdir()), cwd=pair)["runs"]) == 9


def test_wrong_input_is_exit_code_2(pair: Path) -> None:
    (pair / "empty").mkdir()
    for arguments in (["r0"], [], ["r0", "missing"], ["r0", "empty"], ["r0", "."], ["r0", "r1/metrics.ndjson"]):
        done = start("compare", *arguments, cwd=pair)
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert done.stderr.count("\n") == 1


def test_what_was_not_read_is_said_and_exit_code_1(pair: Path) -> None:
    with (pair / "r1" / "metrics.ndjson").open("a") as file:
        file.write("no row\n")
    done = start("compare", "r0", "r1", cwd=pair)
    assert (done.returncode, "r1: Of 5 lines, 1 line" in done.stderr) == (1, True), done.stderr
