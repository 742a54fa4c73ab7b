"""Every line that is written is valid by the schemas in the package, and the schemas refuse what is not."""

from __future__ import annotations

import copy
import importlib.resources
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator, FormatChecker

import codex_obs
from codex_obs.testing import open_run
from packed import logs, unpacked

if TYPE_CHECKING:
    from collections.abc import Iterator

SCHEMAS = {
    "metrics": "run_metrics",
    "metrics_manifest": "run_metrics_manifest",
    "params": "run_params",
    "tracking_summary": "tracking_component",
    "telemetry": "telemetry",
    "run": "run_session",
    "identity": "run",
    "export_rejected": "export_rejected",
    "export_names": "export_names",
}
# What commands print and what the sampler writes, which their own tests compare.
OF_OTHERS = ("inspection", "system_metrics")
# Only a server brings these about.
WITHOUT_SERVER = set(SCHEMAS) - {"export_rejected", "export_names"}


def schema(name: str) -> dict[str, Any]:
    file = importlib.resources.files("codex_obs") / "schemas" / f"{name}.schema.json"
    loaded: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return loaded


VALIDATORS = {
    kind: Draft202012Validator(schema(name), format_checker=FormatChecker()) for kind, name in SCHEMAS.items()
}


class Unreadable:
    def __float__(self) -> float:
        raise ValueError


VALUES: dict[str, object] = {
    "float": 0.5, "int": 3, "bool": True, "none": None, "nan": math.nan, "infinite": -math.inf, "huge": 10**400,
    "unreadable": Unreadable(), "mapping": {"path": "a", "x": [1]}, "text": "é\ud800", "bytes": b"x",
    "array": np.zeros((2, 3)), "large": "x" * (2 << 20), "nested": [[1], [2, {"y": math.nan}]], "object": object, "": 1,
    "na\x1bme": 2,
}  # fmt: skip


def written(directory: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """Give every line in a run directory with its kind."""
    for file in sorted(directory.iterdir()):
        if file.name == "run.json":
            yield "identity", json.loads(file.read_text("ascii"))
    for log, files in logs(directory).items():
        for line in b"".join(map(unpacked, files)).decode("ascii").splitlines():
            yield log.partition(".")[0], json.loads(line)


@pytest.fixture(params=["plain", "legacy", "flatten"])
def directory(request: pytest.FixtureRequest, run_dir: Path) -> Path:
    """Give a run directory with lines of every kind."""
    mode = codex_obs.Settings(
        max_shard_bytes=20_000, backup_count=2, legacy=request.param == "legacy", flatten=request.param == "flatten"
    )
    config = {"lr": 1, "seed": 3, "f": {1: math.inf}}
    with codex_obs.init(run_dir, name="schemas", config=config, tags={"k": "v"}, settings=mode) as run:
        for step in (0, -(2**63), 2**63 - 1):
            run.log(VALUES, step=step, split=3, dataset=None, tags={"manifest_id": 1, "nonfinite": 2, "unreadable": 3})
            run.log(VALUES, step=step, dataset="d", tags={"phase": "eval", "z": {"deep": [10**30]}})
        run.log_params({"late": object})
        with run.span("update", update=3) as span:
            span.event("tick")
    with pytest.raises(ZeroDivisionError), open_run(run_dir, legacy=mode.legacy, flatten=mode.flatten):
        raise ZeroDivisionError
    # Each of these rows is a shard of its own, and all but the last two are deleted.
    with open_run(run_dir, max_shard_bytes=1, backup_count=1, archive="none", legacy=mode.legacy) as run:
        for step in range(4):
            run.log({"loss": 0.5}, step=step)
    assert run.stats()["rows_retired"] > 0
    return run_dir


def test_every_written_line_is_valid(directory: Path) -> None:
    seen = set()
    for kind, line in written(directory):
        errors = [f"{error.json_path}: {error.message}" for error in VALIDATORS[kind].iter_errors(line)]
        assert errors == [], line
        assert line["$schema"] == f"https://codexml.ai/schemas/{SCHEMAS[kind]}.schema.json"
        seen.add(kind)
    # Legacy rows hold structured values themselves.
    legacy = "timestamp" not in next(line for kind, line in written(directory) if kind == "metrics")
    assert set(seen) == WITHOUT_SERVER - ({"metrics_manifest"} if legacy else set())


@pytest.mark.parametrize("name", sorted([*SCHEMAS.values(), *OF_OTHERS]))
def test_a_schema_is_a_schema_with_its_own_address(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))
    assert schema(name)["$id"] == f"https://codexml.ai/schemas/{name}.schema.json"
    assert schema(name)["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_every_kind_of_schema_file_is_tested() -> None:
    files = importlib.resources.files("codex_obs") / "schemas"
    assert {file.name.removesuffix(".schema.json") for file in files.iterdir() if file.name.endswith(".json")} == {
        *SCHEMAS.values(),
        *OF_OTHERS,
    }


GOLDEN = Path(__file__).parents[1] / "golden"


def golden(file: str) -> Iterator[dict[str, Any]]:
    for line in (GOLDEN / file).read_text("ascii").splitlines():
        yield json.loads(line)


def valid_lines() -> list[tuple[str, dict[str, Any]]]:
    kinds = {"params": "params", "tracking": "tracking_summary", "session": "run", "identity": "identity"}
    kinds["refused"] = "export_rejected"
    lines = [("metrics", json.loads(case["line"])) for case in golden("rows.ndjson")]
    lines += [("metrics_manifest", json.loads(case["manifest"])) for case in golden("rows.ndjson") if case["manifest"]]
    lines += [(kinds[case["kind"]], json.loads(case["line"])) for case in golden("records.ndjson")]
    return lines


def test_golden_lines_are_valid_and_each_of_their_fields_is_needed_and_typed() -> None:
    for kind, line in valid_lines():
        validator = VALIDATORS[kind]
        assert validator.is_valid(line), line
        assert not validator.is_valid({**line, "stranger": 1})
        for key in line:
            without = {name: value for name, value in line.items() if name != key}
            assert validator.is_valid(without) is (key == "metadata"), (kind, key)
            # The value of a legacy row is whatever was logged.
            if key != "value" or "timestamp" in line:
                assert not validator.is_valid({**line, key: ...}), (kind, key)
        assert not validator.is_valid({**line, "$schema": "https://codexml.ai/schemas/other.schema.json"})
        assert not validator.is_valid({**line, "schema_version": "v2"})


DESCRIPTOR = {"payload": [1], "shape": [1], "type": "list", "version": "v1"}
ROW = {
    "$schema": "https://codexml.ai/schemas/run_metrics.schema.json",
    "schema_version": "v1",
    "timestamp": "2026-11-20T08:15:30.000125Z",
    "run_id": "r1",
    "step": 2,
    "split": "eval",
    "metric": "loss",
    "value": 0.5,
    "dataset": "d",
    "tags": {},
}
MANIFEST = {
    **{key: ROW[key] for key in ("schema_version", "timestamp", "run_id", "step", "split", "metric", "dataset")},
    "$schema": "https://codexml.ai/schemas/run_metrics_manifest.schema.json",
    "manifest_id": "manifest-" + "0" * 32,
    "descriptor": DESCRIPTOR,
}
NO_ID = "manifest-" + "0" * 31
WRONG_ROWS: list[dict[str, Any]] = [
    {"timestamp": "2026-11-20T08:15:30Z"}, {"timestamp": "2026-11-20T08:15:30.000125+00:00"}, {"timestamp": 1},
    {"timestamp": "2026-11-20 08:15:30.000125Z"}, {"timestamp": None}, {"run_id": ""}, {"run_id": None},
    {"step": 1.5}, {"step": "1"}, {"step": 2**63}, {"step": -(2**63) - 1}, {"step": True}, {"split": None},
    {"split": 1}, {"metric": None}, {"value": "0.5"}, {"value": True}, {"value": [1]}, {"value": {}},
    {"dataset": 1}, {"tags": None}, {"tags": []}, {"tags": {"nonfinite": "nan"}, "value": None},
    {"tags": {"nonfinite": "NaN"}}, {"tags": {"manifest_id": NO_ID + "0"}}, {"tags": {"unreadable": "E"}},
    {"tags": {"manifest_id": NO_ID}, "value": None}, {"tags": {"manifest_id": 1}, "value": None},
    {"tags": {"unreadable": 1}, "value": None},
]  # fmt: skip
WRONG_MANIFEST_LINES: list[dict[str, Any]] = [
    {"manifest_id": "0" * 32}, {"manifest_id": NO_ID}, {"manifest_id": NO_ID + "G"},
    {"descriptor": None}, {"descriptor": {}}, {"descriptor": {"payload": 1, "type": "int"}},
    {"descriptor": {**DESCRIPTOR, "version": "v2"}}, {"descriptor": {**DESCRIPTOR, "shape": [-1]}},
    {"descriptor": {**DESCRIPTOR, "shape": [1.5]}}, {"descriptor": {**DESCRIPTOR, "stranger": 1}},
    {"descriptor": {**DESCRIPTOR, "path": 1}}, {"descriptor": {**DESCRIPTOR, "truncated_bytes": 9}},
]  # fmt: skip


def test_the_rows_that_the_wrong_ones_are_made_from_are_valid() -> None:
    assert VALIDATORS["metrics"].is_valid(ROW)
    assert VALIDATORS["metrics_manifest"].is_valid(MANIFEST)
    assert VALIDATORS["metrics"].is_valid({**ROW, "step": None})
    truncated = {
        **copy.deepcopy(MANIFEST),
        "descriptor": {"payload": None, "truncated_bytes": 9, "type": "str", "version": "v1"},
    }
    assert VALIDATORS["metrics_manifest"].is_valid(truncated)


@pytest.mark.parametrize("index", range(len(WRONG_ROWS)))
def test_a_wrong_row_is_refused(index: int) -> None:
    assert not VALIDATORS["metrics"].is_valid({**ROW, **WRONG_ROWS[index]})


@pytest.mark.parametrize("index", range(len(WRONG_MANIFEST_LINES)))
def test_a_wrong_manifest_line_is_refused(index: int) -> None:
    assert not VALIDATORS["metrics_manifest"].is_valid({**MANIFEST, **WRONG_MANIFEST_LINES[index]})


def config_hash(directory: Path) -> object:
    starts = [line for kind, line in written(directory) if kind == "run" and line["record"] == "start"]
    return starts[0]["config_hash"]


def test_the_hash_of_a_configuration_does_not_depend_on_its_order(tmp_path: Path) -> None:
    configs: list[dict[str, Any]] = [
        {"a": 1, "b": {"c": 2, "d": 3}},
        {"b": {"d": 3, "c": 2}, "a": 1},
        {"a": 1, "b": {"c": 2, "d": 4}},
    ]
    hashes = []
    for index, config in enumerate(configs):
        with open_run(tmp_path / str(index), config=config):
            pass
        hashes.append(config_hash(tmp_path / str(index)))
    assert hashes[0] == hashes[1] != hashes[2]


def test_names_that_were_changed_for_a_destination_are_valid(tracking: Any, run_dir: Path) -> None:
    with codex_obs.init(run_dir, mlflow_tracking_uri=tracking.uri) as run:
        run.log({"größe ±1": 0.5})
    (line,) = [line for kind, line in written(run_dir) if kind == "export_names"]
    validator = VALIDATORS["export_names"]
    validator.validate(line)
    assert line["name"] == "train/größe ±1"
    assert tracking.points() == [(line["remote_name"], 0.5, 0)]
    for key in line:
        assert not validator.is_valid({name: value for name, value in line.items() if name != key}), key
    assert not validator.is_valid({**line, "more": 1})


def test_what_a_destination_refused_is_valid() -> None:
    validator = Draft202012Validator(schema("export_rejected"), format_checker=FormatChecker())
    records = Path(__file__).parents[1] / "golden" / "records.ndjson"
    cases = [json.loads(line) for line in records.read_text("ascii").splitlines()]
    refused = [json.loads(case["line"]) for case in cases if case["kind"] == "refused"]
    assert {line["kind"] for line in refused} == {"metric", "param"}
    for line in refused:
        validator.validate(line)
        for key in line:
            assert not validator.is_valid({name: value for name, value in line.items() if name != key}), key
        assert not validator.is_valid({**line, "more": 1})
        assert not validator.is_valid({**line, "value": None})
