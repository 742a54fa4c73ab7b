"""What can be done about a problem is worded from its kind and facts, for every kind that the engine has."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from codex_obs import _problems

ENGINE = Path(__file__).parents[2] / "rust" / "codex-obs-core" / "src"
FILES = [path for path in ENGINE.rglob("*.rs") if "tests" not in path.name]
FACTS = {
    "directory": "runs/it's a run",
    "to": "mlflow",
    "uri": "http://h:1/a;b&c",
    "experiment_name": "a b",
    "ranks": "all",
    "run": "0f3c",
    "deleted": "12",
}
START = ["codex-ndjson", "sync", FACTS["directory"], "--to", "mlflow", "--uri", FACTS["uri"]]


def commands(kind: str, **more: str) -> list[list[str]]:
    """The commands in a problem's words, as a shell takes them apart."""
    words = _problems.in_words("it failed", kind, {**FACTS, **more})
    assert words.startswith("it failed; ")
    return [shlex.split(command) for command in re.findall("`([^`]*)`", words)]


def test_every_kind_of_the_engine_has_a_remedy_and_no_other_has() -> None:
    text = "\n".join(re.split(r"\nmod tests \{", path.read_text())[0] for path in FILES)
    kinds = set(re.findall(r'Problem::new\(\s*"(\w+)"', text)) | set(re.findall(r'\("(mlflow_run_\w+)", format!', text))
    assert kinds == set(_problems._REMEDIES)


def test_no_option_of_a_command_stands_in_the_engine() -> None:
    for path in FILES:
        code = re.sub(r"^\s*//.*$", "", re.split(r"\nmod tests \{", path.read_text())[0], flags=re.MULTILINE)
        # Another tool's own, which is named as a cause, and one of zstd's.
        found = set(re.findall(r"[ `]--[a-z][a-z-]+", code)) - {" --clean", " --long"}
        assert not found, f"{path.name}: {found}"


@pytest.mark.parametrize("kind", _problems._REMEDIES)
def test_a_remedy_has_no_place_without_a_fact(kind: str) -> None:
    assert "{" not in _problems.in_words("it failed", kind, FACTS)


def test_the_command_for_the_rest_says_what_was_meant_as_a_shell_reads_it() -> None:
    (command,) = commands("undelivered")
    assert command == [*START, "--experiment-name", "a b", "--export-ranks", "all"]
    facts = {"directory": "d", "to": "tensorboard", "dest": "/x y"}
    assert "`codex-ndjson sync d --to tensorboard --dest '/x y'`" in _problems.in_words("", "undelivered", facts)
    facts = {"directory": "d", "to": "mlflow", "uri": "http://h", "run_id": "0f3c"}
    words = _problems.in_words("", "undelivered", facts)
    assert "`codex-ndjson sync d --to mlflow --uri http://h --run-id 0f3c`" in words


def test_a_run_that_is_gone_can_be_restored_or_made_anew() -> None:
    restore, anew = commands("mlflow_run_deleted")
    assert restore == [f"MLFLOW_TRACKING_URI={FACTS['uri']}", "mlflow", "runs", "restore", "--run-id", "0f3c"]
    assert anew == [*START, "--experiment-name", "a b", "--export-ranks", "all", "--new-run"]
    again, anew = commands("mlflow_run_refused")
    assert again == [*START, "--export-ranks", "all"]
    assert anew[-1] == "--new-run"


def test_a_new_run_that_was_asked_for_is_asked_for_again() -> None:
    restore, same, other = commands("mlflow_experiment_deleted", new_run="yes")
    assert restore[-2:] == ["--experiment-id", "12"]
    assert same == [*START, "--experiment-name", "a b", "--export-ranks", "all", "--new-run"]
    assert other == [*START, "--experiment-id", "ID", "--export-ranks", "all", "--new-run"]
