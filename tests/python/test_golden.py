"""The golden files of ``tests/golden``, which the Rust tests read too."""

from __future__ import annotations

import builtins
import importlib.util
import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from codex_obs import Settings
from codex_obs._backend import ManualClock, Recorder, canonical_json

if TYPE_CHECKING:
    from types import ModuleType

GOLDEN = Path(__file__).parents[1] / "golden"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def load_make() -> ModuleType:
    spec = importlib.util.spec_from_file_location("golden_make", GOLDEN / "make.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


make = load_make()


def cases(name: str) -> list[dict[str, Any]]:
    found = [json.loads(line) for line in (GOLDEN / name).read_text("ascii").splitlines()]
    assert found
    return found


def lines(path: Path) -> list[str]:
    return path.read_text("ascii").splitlines() if path.exists() else []


@pytest.mark.parametrize("name", sorted(make.FILES))
def test_the_golden_files_are_what_the_standard_library_makes(name: str) -> None:
    assert (GOLDEN / name).read_text("ascii") == make.content(name)


def test_numbers_and_texts_are_written_as_in_the_golden_files() -> None:
    for case in cases("numbers.ndjson"):
        (number,) = struct.unpack(">d", bytes.fromhex(case["bits"]))
        assert canonical_json(number).decode() == case["text"]
    for case in cases("texts.ndjson"):
        assert canonical_json("".join(map(chr, case["code_points"]))).decode() == case["text"]


def test_timestamps_are_written_as_in_the_golden_file(run_dir: Path) -> None:
    expected = cases("timestamps.ndjson")
    run = Recorder(str(run_dir), Settings(), run_id="r")
    for case in expected:
        run.log({"m": 1}, step=0, timestamp=EPOCH + timedelta(microseconds=case["micros"]))
    assert run._close(10)
    assert [json.loads(line)["timestamp"] for line in lines(run_dir / "metrics.ndjson")] == [
        case["text"] for case in expected
    ]


class Unreadable:
    def __init__(self, class_name: str) -> None:
        self._error: type[Exception] = getattr(builtins, class_name)

    def __float__(self) -> float:
        raise self._error


def python_value(value: dict[str, Any] | None) -> object:
    if value is None:
        return None
    if "float" in value:
        return struct.unpack(">d", bytes.fromhex(value["float"]))[0]
    if "unreadable" in value:
        return Unreadable(value["unreadable"])
    return value["bool"] if "bool" in value else value["structured"]


@pytest.mark.parametrize("legacy", [False, True])
def test_rows_and_manifest_lines_are_written_as_in_the_golden_file(run_dir: Path, legacy: bool) -> None:  # noqa: FBT001 - a parameter
    expected = [case for case in cases("rows.ndjson") if case["legacy"] is legacy]
    run = Recorder(str(run_dir), Settings(legacy=legacy), run_id=make.RUN_ID)
    for case in expected:
        run.log(
            {case["metric"]: python_value(case["value"])},
            step=case["step"],
            split=case["split"],
            dataset=case["dataset"],
            tags=case["tags"],
            timestamp=EPOCH + timedelta(microseconds=case["micros"]),
        )
    assert run._close(10)
    manifest = lines(run_dir / "metrics_manifest.ndjson")
    ids = [json.loads(line)["manifest_id"] for line in manifest]
    rows = lines(run_dir / "metrics.ndjson")

    # Ids are random: they are compared by their place, and then as the one of the golden file.
    remaining = iter(ids)
    for index, case in enumerate(expected):
        if case["manifest"] is not None:
            own = next(remaining)
            assert own in rows[index]
            rows[index] = rows[index].replace(own, f"manifest-{make.MANIFEST_ID}")
    assert next(remaining, None) is None
    assert len(set(ids)) == len(ids)
    assert rows == [case["line"] for case in expected]
    assert [line.replace(own, f"manifest-{make.MANIFEST_ID}") for line, own in zip(manifest, ids, strict=True)] == [
        case["manifest"] for case in expected if case["manifest"] is not None
    ]


def test_the_lines_of_the_other_files_are_written_as_in_the_golden_file(run_dir: Path) -> None:
    expected = cases("records.ndjson")
    (micros,) = {case["micros"] for case in expected}
    run = Recorder(str(run_dir), Settings(), run_id=make.RUN_ID, name="demo", clock=ManualClock(micros / 10**6))
    for case in expected:
        if case["kind"] == "params":
            run._write_params(case["config"], case["cli"]["argv"], case["derived"], case["metadata"])
        elif case["kind"] == "tracking":
            run._write_summary(case["component"], case["status"], case["reason"], case["extra"])
        elif case["kind"] == "session":
            run._write_session(case["record"], case["fields"])
    assert run._close(10)

    def golden(kind: str) -> list[str]:
        return [case["line"] for case in expected if case["kind"] == kind]

    assert lines(run_dir / "params.ndjson") == golden("params")
    assert lines(run_dir / "tracking_summary.ndjson") == golden("tracking")
    assert lines(run_dir / "run.ndjson") == golden("session")
    # A new run has no remote runs yet.
    assert lines(run_dir / "run.json") == [golden("identity")[0].replace('{"mlflow":"abc"}', "{}")]
