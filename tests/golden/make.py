"""Makes the golden files of this folder with nothing but the standard library.

The files are the format: readers of other people rely on these bytes. A change here is a change of the format and has a
line in CHANGELOG. `tests/python/test_golden.py` and `rust/codex-obs-core/tests/it/golden.rs` read them.

    python tests/golden/make.py
"""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

SCHEMAS = "https://codexml.ai/schemas/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MANIFEST_ID = "0123456789abcdeffedcba9876543210"
RUN_ID = 'r"é1'


def dumps(value: object) -> str:
    return json.dumps(value, ensure_ascii=True, separators=(",", ":"))


def time_text(micros: int) -> str:
    moment = EPOCH + timedelta(microseconds=micros)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def bits(number: float) -> str:
    return struct.pack(">d", number).hex()


def numbers() -> list[dict[str, Any]]:
    edges = [
        0.0, -0.0, 0.1, 0.5, 1.0, 5.0, -1.5, 3.141592653589793, 100.0, 123456.789, 1e15, 999999999999999.9,
        9999999999999998.0, 1e16, 1.2345e16, 1e17, 1e21, 1e22, 1.5e300, 1.7976931348623157e308, 1e-3, 1.5e-4, 1e-4,
        9.999999999999999e-05, 1.5e-05, 1e-05, 1.25e-06, 1e-06, 1e-07, 1.2e-09, 1e-09, 1e-10, 1e-99, 1e-100,
        2.2250738585072014e-308, 2.225073858507201e-308, 5e-324, 2.0**53, 2.0**53 + 2, 2.0**63, -(2.0**64),
    ]  # fmt: skip
    # Halfway and carry cases of shortest digits: the powers of two and their neighbours.
    for exponent in range(-1074, 1024, 41):
        number = 2.0**exponent
        below, above = (struct.unpack("<d", struct.pack("<q", to_int(number) + step))[0] for step in (-1, 1))
        edges += [below, number, above]
    return [{"bits": bits(number), "text": dumps(number)} for number in edges]


def to_int(number: float) -> int:
    integer: int = struct.unpack("<q", struct.pack("<d", number))[0]
    return integer


def texts() -> list[dict[str, Any]]:
    cases = [
        "", "plain text", '"quoted" and \\ back', "/slash/", "\0\1\2\3\4\5\6\7", "\b\t\n\v\f\r",
        "".join(map(chr, range(14, 32))), "\x7f\x80\x9f\xa0", "é", "ÿĀ", "ߕࠀ", "日本語", "\u2028\u2029",
        "\ud7ff\ue000", "\ufeff\ufffd\ufffe\uffff", "\U00010000", "\U0001f600", "\U0010ffff",
        "a" * 15 + "é" + "b" * 16 + '"' + "c" * 40, "</script>&<>'",
    ]  # fmt: skip
    return [{"code_points": [ord(character) for character in case], "text": dumps(case)} for case in cases]


def timestamps() -> list[dict[str, Any]]:
    seconds = [0, 1, -1, 951782400, 951868800, 4107542400, 1795162530, -62135596800, 253402300799, -11644473600]
    cases = [second * 10**6 + fraction for second in seconds for fraction in (0, 1, 125, 999_999)]
    return [{"micros": micros, "text": time_text(micros)} for micros in cases]


def rows() -> list[dict[str, Any]]:
    tags: list[dict[str, Any]] = [
        {},
        {"a": 1, "b": 2},
        {"phase": "eval"},
        {"a": {"z": [1, -2.5, None, True, {"y": "é", "x": {}}], "b": []}, "m": 1, "n": 2, "o": 3, "u": 4, "v": 5},
        {"Z": 1, "é": 2, "\U0001f600": 3, "\uffff": 4, "": 5, '"': 6},
    ]
    values: list[dict[str, Any] | None] = [
        {"float": bits(0.5)},
        {"float": bits(-0.0)},
        {"float": bits(1e-05)},
        {"bool": True},
        {"bool": False},
        None,
        {"float": bits(float("nan"))},
        {"float": bits(float("inf"))},
        {"float": bits(float("-inf"))},
        {"unreadable": "ValueError"},
        {"structured": {"counts": [1, 2], "edges": [0, 1, 2]}, "descriptor": {"type": "dict"}},
        {"structured": [[1, 2], [3, 4]], "descriptor": {"shape": [2, 2], "type": "list"}},
        {"structured": 'text "é"', "descriptor": {"type": "str"}},
        {"structured": {"path": "a/b.png"}, "descriptor": {"path": "a/b.png", "type": "dict"}},
    ]
    cases = []
    for index, value in enumerate(values):
        for legacy in (False, True):
            for tag in tags:
                call = {
                    "micros": 1795162530_000125 + index,
                    "step": [0, 2, -1, 2**63 - 1, -(2**63)][index % 5],
                    "split": ["train", "eval", 'sp"lit\n', ""][index % 4],
                    "dataset": [None, "data/train", "", "é"][index % 4],
                    "tags": tag,
                    "metric": ["loss", "a/b", 'na"me\t', "日本"][index % 4],
                    "value": value,
                    "legacy": legacy,
                }
                cases.append({**call, **row_lines(call)})
    return cases


def row_lines(call: dict[str, Any]) -> dict[str, str | None]:
    value, added = row_value(call["value"], legacy=call["legacy"])
    head = {"$schema": SCHEMAS + "run_metrics.schema.json", "schema_version": "v1"}
    run = {} if call["legacy"] else {"timestamp": time_text(call["micros"]), "run_id": RUN_ID}
    row = {
        "step": call["step"],
        "split": call["split"],
        "metric": call["metric"],
        "value": value,
        "dataset": call["dataset"],
        "tags": in_order({**call["tags"], **added}),
    }
    lines: dict[str, str | None] = {"line": dumps({**head, **run, **row}), "manifest": None}
    if "manifest_id" in added:
        descriptor = {"payload": call["value"]["structured"], **call["value"]["descriptor"], "version": "v1"}
        lines["manifest"] = dumps(
            {
                "$schema": SCHEMAS + "run_metrics_manifest.schema.json",
                "schema_version": "v1",
                **run,
                **added,
                **{key: row[key] for key in ("metric", "step", "split", "dataset")},
                "descriptor": in_order(descriptor),
            }
        )
    return lines


def row_value(value: dict[str, Any] | None, *, legacy: bool) -> tuple[object, dict[str, str]]:
    """Give what stands as value in the row, and what it adds to the tags."""
    if value is None:
        return None, {}
    if "bool" in value:
        return int(value["bool"]), {}
    if "unreadable" in value:
        return None, {"unreadable": value["unreadable"]}
    if "structured" in value:
        return (value["structured"], {}) if legacy else (None, {"manifest_id": f"manifest-{MANIFEST_ID}"})
    number = struct.unpack(">d", bytes.fromhex(value["float"]))[0]
    if number - number == 0:
        return number, {}
    word = {float("inf"): "Infinity", float("-inf"): "-Infinity"}.get(number, "NaN")
    return None, {"nonfinite": word}


def in_order(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: in_order(inner) for key, inner in sorted(value.items())}
    return [in_order(inner) for inner in value] if isinstance(value, list) else value


def records() -> list[dict[str, Any]]:
    """Lines of the other files."""
    micros = 1795162530_000125

    def line(schema: str, *, stamped: bool = True, **fields: object) -> str:
        head = {"$schema": f"{SCHEMAS}{schema}.schema.json", "schema_version": "v1"}
        return dumps({**head, **({"timestamp": time_text(micros)} if stamped else {}), **fields})

    cli = {"argv": ["train.py", "--lr", "é"]}
    config = {"b": [1, 2.5, None], "a": {"d": True, "c": "x"}}
    derived = {"seed": 3}
    metadata = {"tags": {"k": "v"}, "name": "demo"}
    start: dict[str, Any] = {
        "host": "h",
        "pid": 7,
        "stream": "main",
        "resume_step": None,
        "config_hash": None,
        "versions": {"python": "3"},
    }
    extra = {"last_step": 9, "cause": "full", "count": 3}
    params = {"cli": cli, "config": in_order(config), "derived": derived}
    refused = {"destination": "mlflow http://h:5000", "remote_run": "ab12"}
    refused_metric: dict[str, Any] = {
        **refused, "kind": "metric", "name": "train/lo_s-0a1b2c3d", "status": 400, "reason": 'no "é"',
        "stream_prefix": "", "split": "train", "metric": "lo@s",
    }  # fmt: skip
    refused_param: dict[str, Any] = {
        **refused,
        "kind": "param",
        "name": "lr",
        "status": 500,
        "reason": "",
        "value": "1é",
    }
    logged: dict[str, Any] = {"logged": time_text(micros), "step": -(2**63)}
    return [
        {
            "kind": "params", "micros": micros, "cli": cli, "config": config, "derived": derived, "metadata": metadata,
            "line": line("run_params", run_id=RUN_ID, **params, metadata=in_order(metadata)),
        },
        {
            "kind": "params", "micros": micros, "cli": cli, "config": config, "derived": derived, "metadata": {},
            "line": line("run_params", run_id=RUN_ID, **params),
        },
        {
            "kind": "tracking", "micros": micros, "component": "ndjson", "status": "degraded", "reason": "rows dropped",
            "extra": extra,
            "line": line(
                "tracking_component", component="ndjson", status="degraded", reason="rows dropped",
                extra=in_order(extra),
            ),
        },
        {
            "kind": "tracking", "micros": micros, "component": "mlflow", "status": "disabled", "reason": None,
            "extra": {},
            "line": line("tracking_component", component="mlflow", status="disabled", reason=None, extra={}),
        },
        {
            "kind": "session", "micros": micros, "record": "start", "fields": start,
            "line": line("run_session", run_id=RUN_ID, record="start", **in_order(start)),
        },
        {
            "kind": "session", "micros": micros, "record": "finish", "fields": {"status": "finished"},
            "line": line("run_session", run_id=RUN_ID, record="finish", status="finished"),
        },
        *(
            {
                "kind": "refused", "micros": micros, "fields": {**refused_metric, "value": value, "step": -(2**63)},
                "line": line("export_rejected", run_id=RUN_ID, **refused_metric, value=value, **logged),
            }
            for value in (1e-05, 5.0, "NaN", "Infinity", "-Infinity")
        ),
        {
            "kind": "refused", "micros": micros, "fields": refused_param,
            "line": line("export_rejected", run_id=RUN_ID, **refused_param),
        },
        {
            "kind": "identity", "micros": micros, "name": "demo", "destinations": {"mlflow": "abc"},
            "line": line(
                "run", stamped=False, run_id=RUN_ID, name="demo", created=time_text(micros),
                destinations={"mlflow": "abc"},
            ),
        },
    ]  # fmt: skip


FILES = {
    "numbers.ndjson": numbers,
    "records.ndjson": records,
    "rows.ndjson": rows,
    "texts.ndjson": texts,
    "timestamps.ndjson": timestamps,
}


def content(name: str) -> str:
    """Give what the file `name` holds."""
    return "".join(dumps(case) + "\n" for case in FILES[name]())


if __name__ == "__main__":
    for name in FILES:
        Path(__file__).with_name(name).write_text(content(name), "ascii")
