"""`Run.event`: numbers become rows of the category's split, the rest becomes tags, and nothing is lost."""

from __future__ import annotations

import json
import math
import pickle
import subprocess
import sys
from decimal import Decimal
from enum import Enum, StrEnum
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import codex_obs
from codex_obs.testing import LoggedEvent, ManualClock, MemoryRun, open_run, read_rows
from labels import label

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from codex_obs import Run

STEP_FIELDS = ["timesteps", "policy_version", "step", "global_step", "update"]
SPLITS = {
    "trainer": ["TRAINER", "TRAIN", "trainer", "Train", "tRAIN"],
    "actor": ["ACTOR", "ACT", "actor", "Act"],
    "evaluator": ["EVALUATOR", "EVAL", "evaluator", "eval", "Eval"],
    "misc": ["MISC", "misc", "Misc"],
}
UNKNOWN = ["", "checkpoint", "TRAINING", " TRAIN", "trainer/", "évaluator", "tra\x00in", "None"]

encode = json.JSONEncoder(ensure_ascii=True, separators=(",", ":")).encode


@pytest.fixture
def run(run_dir: Path) -> Iterator[Run]:
    with open_run(run_dir, fsync="never", clock=ManualClock(1e9), max_shard_bytes=None) as run:
        yield run


class Lines:
    """What the rows' file has gained since the last look."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._seen = 0

    def new(self) -> list[str]:
        assert self._run.flush(30)
        text = (self._run.path / "metrics.ndjson").read_bytes()
        new, self._seen = text[self._seen :], len(text)
        return new.decode("ascii").splitlines(keepends=True)


def rows_of(run: Run) -> list[dict[str, Any]]:
    assert run.flush(30)
    return read_rows(run.path)


def summary(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[key] for key in ("step", "split", "metric", "value", "tags"))


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def canonical(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: canonical(inner) for key, inner in sorted(value.items())}
    if isinstance(value, list):
        return [canonical(inner) for inner in value]
    return value


def modelled(run_id: str, category: str, message: object, fields: dict[str, Any]) -> list[str]:
    """Give the lines of an event, by the rules as they are written down."""
    split = next((split for split, names in SPLITS.items() if category.upper() in names), "misc")
    steps = [fields[name] for name in STEP_FIELDS if fields.get(name) is not None]
    others = {name: value for name, value in fields.items() if name not in STEP_FIELDS}
    metrics = {name: value for name, value in others.items() if is_number(value) and name != "telemetry"}
    tags = {name: value for name, value in others.items() if name not in metrics}
    tags |= dict([(name, fields[name]) for name in STEP_FIELDS if fields.get(name) is not None][1:])
    if message is not None:
        tags["message"] = message
    if not any(category.upper() in names for names in SPLITS.values()):
        tags["category"] = category
    for name in ("manifest_id", "nonfinite", "unreadable"):
        tags.pop(name, None)
    lines = []
    for name, value in (metrics or {"event": None}).items():
        number = None if value is None else float(value)
        words = {}
        if number is not None and not math.isfinite(number):
            words = {"nonfinite": {math.inf: "Infinity", -math.inf: "-Infinity"}.get(number, "NaN")}
            number = None
        row = {
            "$schema": "https://codexml.ai/schemas/run_metrics.schema.json",
            "schema_version": "v1",
            "timestamp": "2001-09-09T01:46:40.000000Z",
            "run_id": run_id,
            "step": steps[0] if steps else None,
            "split": split,
            "metric": name,
            "value": number,
            "dataset": None,
            "tags": canonical({**tags, **words}),
        }
        lines.append(encode(row) + "\n")
    return lines


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
nested = st.recursive(
    st.none() | st.booleans() | st.integers() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
values = st.one_of(st.floats(), st.integers(-(2**70), 2**70), st.booleans(), st.none(), texts, nested)
reserved = ["nonfinite", "unreadable", "manifest_id"]
names = texts | st.sampled_from(["telemetry", "loss", "Step", "split", "tags", *reserved])
spellings = [name for names in SPLITS.values() for name in names]
categories = st.sampled_from([*spellings, *UNKNOWN]) | texts.filter(str.isascii)


def test_every_byte_of_an_event_is_what_the_rules_say(run: Run) -> None:
    lines = Lines(run)

    @given(
        category=categories,
        message=st.none() | texts | st.integers() | nested,
        fields=st.dictionaries(names.filter(lambda name: name not in {"category", "message"}), values, max_size=6),
        steps=st.dictionaries(st.sampled_from(STEP_FIELDS), st.none() | st.integers(-(2**63), 2**63 - 1)),
    )
    def same(category: str, message: object, fields: dict[str, Any], steps: dict[str, int | None]) -> None:
        run.event(category, message, **fields, **steps)
        assert lines.new() == modelled(run.run_id, category, message, {**fields, **steps})

    same()
    stats = run.stats()
    assert stats["rows_logged"] == stats["rows_written"] > 0


@pytest.mark.parametrize("split", SPLITS)
def test_a_category_is_known_in_every_spelling(run: Run, split: str) -> None:
    for category in SPLITS[split]:
        run.event(category, loss=1)
    assert [summary(row) for row in rows_of(run)] == [(None, split, "loss", 1.0, {})] * len(SPLITS[split])


class Named(StrEnum):
    TRAINER = "TRAINER"


class Plain(Enum):
    TRAINER = 1


class Silent:
    def __str__(self) -> str:
        raise LookupError


@pytest.mark.parametrize(
    ("category", "split", "tags"),
    [
        ("checkpoint", "misc", {"category": "checkpoint"}),
        ("", "misc", {"category": ""}),
        (Named.TRAINER, "trainer", {}),
        (Plain.TRAINER, "misc", {"category": "Plain.TRAINER"}),
        (None, "misc", {"category": "None"}),
        (5, "misc", {"category": "5"}),
        (np.str_("EVAL"), "evaluator", {}),
        ("\ud800", "misc", {"category": "\ufffd"}),
        (Silent(), "misc", {"category": "<Silent>"}),
        ("x" * 5000, "misc", {"category": "x" * 4096}),
    ],
    ids=label,
)
def test_any_other_category_is_misc_and_kept_as_a_tag(
    run: Run, category: object, split: str, tags: dict[str, object]
) -> None:
    run.event(category, loss=1)
    assert [summary(row) for row in rows_of(run)] == [(None, split, "loss", 1.0, tags)]


def test_message_and_other_fields_are_tags_of_every_row(run: Run) -> None:
    run.event(
        "TRAIN", "an update", loss=0.5, ok=True, kl=np.float32(0.25), note="fine", gone=None, shape=(2, 3), step=7
    )
    tags = {"gone": None, "message": "an update", "note": "fine", "ok": True, "shape": [2, 3]}
    assert [summary(row) for row in rows_of(run)] == [
        (7, "trainer", "loss", 0.5, tags),
        (7, "trainer", "kl", 0.25, tags),
    ]


@pytest.mark.parametrize(
    ("fields", "tags"),
    [
        ({}, {}),
        ({"ok": True}, {"ok": True}),
        ({"gone": None}, {"gone": None}),
        ({"telemetry": 5}, {"telemetry": 5}),
        ({"counts": np.array([1, 2])}, {"counts": [1, 2]}),
        ({"z": 1j}, {"z": "1j"}),
        ({"data": b"x"}, {"data": "eA=="}),
    ],
    ids=label,
)
def test_an_event_without_a_number_is_one_row_that_keeps_its_words(
    run: Run, fields: dict[str, object], tags: dict[str, object]
) -> None:
    run.event("ACTOR", "words", **fields)
    assert [summary(row) for row in rows_of(run)] == [(None, "actor", "event", None, {"message": "words", **tags})]


def test_an_event_of_nothing_is_still_a_row(run: Run) -> None:
    run.event("EVAL")
    run.event("EVAL", None, step=3)
    assert [summary(row) for row in rows_of(run)] == [
        (None, "evaluator", "event", None, {}),
        (3, "evaluator", "event", None, {}),
    ]


def test_the_arguments_may_be_given_by_name(run: Run) -> None:
    run.event(category="TRAIN", message="words", loss=1)
    assert [summary(row) for row in rows_of(run)] == [(None, "trainer", "loss", 1.0, {"message": "words"})]


@pytest.mark.parametrize(
    "number",
    [3, 0.5, np.int8(3), np.float16(0.5), np.array([[2.0]]), Decimal("0.5"), Fraction(1, 2), 10**400, math.nan],
    ids=label,
)
def test_whatever_holds_one_number_is_a_metric_as_it_is_for_log(run: Run, number: Any) -> None:
    run.log({"m": number}, step=0, split="trainer")
    run.event("TRAIN", m=number, step=0)
    logged, event = rows_of(run)
    assert event == logged


@pytest.mark.parametrize("value", [True, np.True_, np.array([True]), None, "5", b"5", "", float, {}], ids=label)
def test_booleans_texts_and_none_are_no_metrics(run: Run, value: object) -> None:
    run.event("TRAIN", m=value)
    (row,) = rows_of(run)
    assert (row["metric"], row["value"], list(row["tags"])) == ("event", None, ["m"])


class Unreadable:
    def __float__(self) -> float:
        raise LookupError


class Interrupting:
    def __float__(self) -> float:
        raise KeyboardInterrupt


class Reentrant:
    def __init__(self, run: Run) -> None:
        self._run = run

    def __float__(self) -> float:
        self._run.event("ACT", inner=1)
        return 2.0


def test_a_number_that_cannot_be_had_is_a_row_that_says_so(run: Run) -> None:
    run.event("TRAIN", "words", bad=Unreadable(), good=1)
    assert [summary(row) for row in rows_of(run)] == [
        (None, "trainer", "bad", None, {"message": "words", "unreadable": "LookupError"}),
        (None, "trainer", "good", 1.0, {"message": "words"}),
    ]
    assert run.stats()["values_unreadable"] == 1


def test_an_interrupt_in_a_conversion_goes_on_once_the_rows_are_safe(run: Run) -> None:
    with pytest.raises(KeyboardInterrupt):
        run.event("TRAIN", bad=Interrupting(), good=1)
    assert [row["metric"] for row in rows_of(run)] == ["bad", "good"]


def test_a_value_may_log_an_event_itself(run: Run) -> None:
    run.event("TRAIN", outer=Reentrant(run), last=3)
    assert [(row["split"], row["metric"], row["value"]) for row in rows_of(run)] == [
        ("actor", "inner", 1.0),
        ("trainer", "outer", 2.0),
        ("trainer", "last", 3.0),
    ]


@pytest.mark.parametrize("first", range(5))
def test_the_step_is_the_first_field_that_is_there_and_the_others_become_tags(run: Run, first: int) -> None:
    given_fields = {name: rank for rank, name in enumerate(STEP_FIELDS) if rank >= first}
    run.event("TRAIN", loss=1, **dict(reversed(given_fields.items())))
    run.event("TRAIN", loss=1, **dict.fromkeys(STEP_FIELDS[:first]), **given_fields)
    tags = dict(sorted((name, rank) for name, rank in given_fields.items() if rank > first))
    assert [summary(row) for row in rows_of(run)] == [(first, "trainer", "loss", 1.0, tags)] * 2


@pytest.mark.parametrize("field", STEP_FIELDS)
@pytest.mark.parametrize(
    ("step", "error"),
    [(1.0, TypeError), (True, TypeError), ("1", TypeError), (np.float64(1), TypeError), (2**63, ValueError)],
    ids=label,
)
def test_a_step_that_log_refuses_is_refused_by_its_name(
    run: Run, field: str, step: Any, error: type[Exception]
) -> None:
    with pytest.raises(error, match=rf"^{field} must "):
        run.event("TRAIN", "words", **{field: step, "loss": 1})
    assert rows_of(run) == []


def test_the_steps_of_events_count_for_the_steps_that_log_leaves_out(run: Run) -> None:
    run.log({"m": 1})
    run.event("TRAIN", m=1, timesteps=np.int64(2048))
    run.event("TRAIN", m=1)
    run.log({"m": 1})
    assert [row["step"] for row in rows_of(run)] == [0, 2048, None, 2049]


def test_a_run_of_events_without_steps_goes_on_at_step_0(run_dir: Path) -> None:
    with open_run(run_dir) as run:
        run.event("TRAIN", m=1)
    with open_run(run_dir) as run:
        run.log({"m": 2})
    assert [row["step"] for row in read_rows(run_dir)] == [None, 0]


def test_of_what_is_too_long_the_beginning_and_the_words_are_kept(run: Run) -> None:
    run.event("checkpoint", "words", loss=1, telemetry=list(range(400_000)))
    ((*row, tags),) = [summary(row) for row in rows_of(run)]
    assert row == [None, "misc", "loss", 1.0]
    kept = tags.pop("telemetry")
    assert tags == {"category": "checkpoint", "message": "words"}
    assert 0 < len(kept) < 400_000
    assert kept == list(range(len(kept)))
    assert run.stats()["payloads_cut"] == 1


def test_names_that_the_log_sets_itself_are_dropped_from_the_tags(run: Run) -> None:
    run.event("TRAIN", nonfinite="x", unreadable="y", manifest_id="z", kept="k", loss=math.inf)
    run.event("TRAIN", nonfinite=5)
    assert [summary(row) for row in rows_of(run)] == [
        (None, "trainer", "loss", None, {"kept": "k", "nonfinite": "Infinity"}),
        (None, "trainer", "nonfinite", 5.0, {}),
    ]


def test_a_legacy_row_of_an_event_has_a_null_step(run_dir: Path) -> None:
    with open_run(run_dir, legacy=True) as run:
        run.event("TRAIN", "words", loss=1)
    assert (run_dir / "metrics.ndjson").read_text() == (
        '{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","step":null,'
        '"split":"trainer","metric":"loss","value":1.0,"dataset":null,"tags":{"message":"words"}}\n'
    )
    assert codex_obs.read(run_dir)["step"].to_list() == [None]


def test_readers_give_events_with_their_splits_and_a_missing_step(run_dir: Path) -> None:
    clock = ManualClock(1e9)
    with open_run(run_dir, clock=clock) as run:
        run.log({"loss": 0.25}, step=5)
        clock.advance(1)
        run.event("TRAIN", "words", loss=0.5)
        clock.advance(1)
        run.event("TRAIN", "words", loss=0.75, update=9)
        clock.advance(1)
        run.event("EVAL", "done")
    table = codex_obs.read(run_dir)
    assert table.select("step", "split", "metric", "value").rows() == [
        (5, "train", "loss", 0.25),
        (None, "trainer", "loss", 0.5),
        (9, "trainer", "loss", 0.75),
        (None, "evaluator", "event", None),
    ]
    assert table["tags"].to_list()[1] == '{"message":"words"}'
    columns = ("split", "metric", "count", "first_step", "last_step", "first_value", "last_value", "numeric_count")
    assert sorted(codex_obs.summarize(run_dir).select(columns).rows()) == [
        ("evaluator", "event", 1, None, None, None, None, 0),
        ("train", "loss", 1, 5, 5, 0.25, 0.25, 1),
        ("trainer", "loss", 2, 9, 9, 0.5, 0.75, 2),
    ]


def test_a_killed_process_loses_no_event(run_dir: Path) -> None:
    program = (
        "import os, codex_obs, sys\n"
        "run = codex_obs.init(sys.argv[1])\n"
        "for number in range(1000): run.event('ACT', 'words', number=number)\n"
        "os._exit(0)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(run_dir)], check=True, timeout=60)
    rows = codex_obs.read(run_dir)
    assert rows["value"].to_list() == list(range(1000))
    assert rows["step"].null_count() == 1000


def test_after_the_end_an_event_is_counted_and_nothing_else(run: Run) -> None:
    run.close()
    run.event("TRAIN", "words", a=1, b=2)
    run.event("TRAIN", "words")
    assert run.stats()["rows_dropped_closed"] == 3
    assert rows_of(run) == []


def test_the_double_keeps_events_and_refuses_what_a_run_refuses(run: Run) -> None:
    double = MemoryRun()
    double.event("TRAIN", "words", update=5, loss=1)
    double.log({"a": 1})
    assert double.events == [LoggedEvent("TRAIN", "words", {"update": 5, "loss": 1}, 5)]
    assert [call.step for call in double.calls] == [6]
    assert double.stats()["rows_written"] == 2
    for field in STEP_FIELDS:
        for step in (1.0, True, "1", 2**63, None, 4):
            outcomes: list[object] = []
            for target in (double, run):
                try:
                    target.event("TRAIN", **{field: step})
                except (TypeError, ValueError) as error:
                    outcomes.append((type(error), str(error).split()[0]))
                else:
                    outcomes.append(None)
            assert outcomes[0] == outcomes[1], (field, step)
    double.close()
    double.event("TRAIN")
    assert double.stats()["rows_dropped_closed"] == 1


def test_an_unpickled_run_takes_events(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        pickle.loads(pickle.dumps(run)).event("TRAIN", loss=1)
    assert [row["split"] for row in read_rows(run_dir)] == ["trainer"]
