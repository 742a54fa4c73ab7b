"""`codex_obs.rl` and ``codex-obs check --schema rl``: what the events of a trainer are to have, and what is missing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from codex_obs.cli import app
from codex_obs.rl import SCHEMA, should_evaluate
from codex_obs.testing import ManualClock, open_run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typer.testing import Result

EVALUATION: dict[str, Any] = {
    "phase": "eval",
    "policy_version": 2,
    "episodes": 10,
    "mean_return": 20.5,
    "max_return": 30.0,
    "min_return": 9.0,
    "episode_length_mean": 20.5,
    "episode_length_max": 30,
    "episode_length_min": 9,
    "duration_ms": 12.5,
}


def write(run_dir: Path, *, without: Callable[[str, dict[str, Any]], bool] = lambda _category, _at: False) -> None:
    """Write a training of four updates of 128 steps each, evaluated after every other one."""
    clock = ManualClock(1e9)
    with open_run(run_dir, clock=clock) as run:
        for update in range(1, 5):
            at = {"timesteps": update * 128, "policy_version": update}
            for category, fields in (
                ("TRAINER", {"loss": 0.5, "kl": float("nan") if update == 3 else 0.1}),
                ("ACTOR", {"mean_return": 20.0}),
                ("MISC", {}),
                ("EVALUATOR", EVALUATION if update % 2 == 0 else None),
            ):
                clock.advance(0.001)
                if fields is not None and not without(category, at):
                    run.event(category, **{**fields, **at})


def check(run_dir: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["check", str(run_dir), "--schema", "rl", *options])


def test_the_schema_names_what_an_evaluation_has() -> None:
    assert tuple(EVALUATION) == SCHEMA["EVALUATOR"]
    assert set(SCHEMA) == {"TRAINER", "ACTOR", "EVALUATOR", "MISC"}


@pytest.mark.parametrize(
    ("update", "interval", "episodes", "expected"),
    [
        (10, 5, 3, True),
        (11, 5, 3, False),
        (0, 5, 1, True),
        (7, 1, 1, True),
        (10, 0, 3, False),
        (10, -5, 3, False),
        (10, 5, 0, False),
        (10, 5, -1, False),
    ],
)
def test_a_policy_is_evaluated_at_each_multiple_of_the_interval(
    update: int, interval: int, episodes: int, expected: object
) -> None:
    assert should_evaluate(update, interval, episodes) is expected


def test_a_run_that_keeps_the_schema_is_counted_and_right(run_dir: Path) -> None:
    write(run_dir)
    done = check(run_dir)
    assert (done.exit_code, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "TRAINER        4 events        8 rows   steps 128 to 512   tags policy_version",
        "ACTOR          4 events        4 rows   steps 128 to 512   tags policy_version",
        "EVALUATOR      2 events       16 rows   steps 256 to 512   tags phase, policy_version",
        "MISC           4 events        4 rows   steps 128 to 512   tags policy_version",
        "ok: every event has the keys of the schema rl",
    ]
    answer = json.loads(check(run_dir, "--json").stdout)
    assert (answer["schema"], answer["ok"], answer["missing"]) == ("rl", True, [])
    assert answer["categories"]["TRAINER"] == {
        "events": 4,
        "rows": 8,
        "first_step": 128,
        "last_step": 512,
        "metrics": {"kl": 4, "loss": 4},
        "tags": {"policy_version": 4},
    }


@pytest.mark.parametrize("key", EVALUATION)
@pytest.mark.parametrize("value", [..., None], ids=["left out", "None"])
def test_a_key_that_an_evaluation_lacks_is_named(run_dir: Path, key: str, value: object) -> None:
    write(run_dir, without=lambda category, at: category == "EVALUATOR" and at["timesteps"] == 512)
    fields: dict[str, Any] = {**EVALUATION, "policy_version": 4, "timesteps": 512, key: value}
    with open_run(run_dir) as run:
        run.event("EVALUATOR", **{name: field for name, field in fields.items() if field is not ...})
    done = check(run_dir)
    assert done.exit_code == 1
    assert done.stdout.splitlines()[4:] == [f"missing: EVALUATOR: {key} is missing from 1 of 2 events (step 512)"]
    answer = json.loads(check(run_dir, "--json").stdout)
    lack = {"category": "EVALUATOR", "key": key, "events": 1, "of": 2, "steps": [512]}
    assert (answer["ok"], answer["missing"]) == (False, [lack])


def test_words_in_the_place_of_a_number_are_missing(run_dir: Path) -> None:
    write(run_dir, without=lambda category, _at: category == "EVALUATOR")
    with open_run(run_dir) as run:
        run.event("EVALUATOR", **{**EVALUATION, "mean_return": "20.5"}, timesteps=256)
    assert check(run_dir).stdout.splitlines()[4:] == [
        "missing: EVALUATOR: mean_return is missing from 1 of 1 events (step 256)"
    ]


@pytest.mark.parametrize("category", SCHEMA)
def test_a_category_without_any_event_is_named(run_dir: Path, category: str) -> None:
    write(run_dir, without=lambda logged, _at: logged == category)
    done = check(run_dir)
    assert (done.exit_code, done.stdout.splitlines()[4:]) == (1, [f"missing: no {category} event"])


@pytest.mark.parametrize("category", ["ACTOR", "MISC"])
def test_an_update_without_an_event_of_each_category_is_named(run_dir: Path, category: str) -> None:
    write(run_dir, without=lambda logged, at: logged == category and at["policy_version"] in {2, 3})
    assert check(run_dir).stdout.splitlines()[4:] == [
        f"missing: {category}: no event for 2 of 4 updates (step 256, 384)"
    ]


def test_the_version_of_the_policy_may_be_the_step(run_dir: Path) -> None:
    with open_run(run_dir) as run:
        for update in (1, 2):
            for category in ("TRAINER", "ACTOR", "MISC"):
                run.event(category, update=update)
        run.event("EVALUATOR", **EVALUATION)
    assert check(run_dir).exit_code == 0


def test_a_policy_that_acts_one_version_behind_its_trainer_is_right(run_dir: Path) -> None:
    with open_run(run_dir) as run:
        for update in (1, 2, 3):
            run.event("ACTOR", policy_version=update - 1, mean_return=1.0)
            run.event("MISC", policy_version=update)
            run.event("TRAINER", policy_version=update, loss=1.0)
        run.event("EVALUATOR", **EVALUATION)
    assert check(run_dir).exit_code == 0


def test_a_run_without_events_lacks_all_of_them_and_no_run_is_wrong_usage(run_dir: Path) -> None:
    with open_run(run_dir) as run:
        run.log({"loss": 1.0}, split="train")
    done = check(run_dir)
    assert (done.exit_code, done.stdout.count("missing: no ")) == (1, 4)
    assert check(run_dir / "nothing").exit_code == 2


def test_several_runs_are_checked_and_one_that_lacks_something_is_enough(tmp_path: Path) -> None:
    write(tmp_path / "right")
    write(tmp_path / "wrong", without=lambda category, _at: category == "MISC")
    done = check(tmp_path / "right", str(tmp_path / "wrong"))
    ends = [line for line in done.stdout.splitlines() if not line.startswith(tuple(SCHEMA))]
    ok = "ok: every event has the keys of the schema rl"
    assert ends == [f"{tmp_path}/right:", ok, f"{tmp_path}/wrong:", "missing: no MISC event"]
    answers = [
        json.loads(line) for line in check(tmp_path / "right", str(tmp_path / "wrong"), "--json").stdout.splitlines()
    ]
    assert [(answer["run"], answer["ok"]) for answer in answers] == [
        (f"{tmp_path}/right", True),
        (f"{tmp_path}/wrong", False),
    ]
    assert done.exit_code == 1
