"""`payloads` gives every structured value of a run, wherever its line is, and the columns do not depend on the data."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

import codex_obs
from codex_obs import _backend, reading
from other_user import leave_in_journal, require_that_nobody_sees
from packed import logs

TEXT = pl.Categorical()
SCHEMA = {
    "stream": TEXT,
    "run_id": TEXT,
    "timestamp": pl.Datetime("us", "UTC"),
    "step": pl.Int64(),
    "split": TEXT,
    "metric": TEXT,
    "dataset": TEXT,
    "manifest_id": pl.String(),
    "type": TEXT,
    "shape": pl.List(pl.Int64),
    "payload": pl.String(),
    "path": pl.String(),
    "truncated_bytes": pl.Int64(),
    "version": TEXT,
}


def line(number: int, payload: str = "[1,2]", *, second: int = 30) -> str:
    return (
        '{"$schema":"https://codexml.ai/schemas/run_metrics_manifest.schema.json","schema_version":"v1",'
        f'"timestamp":"2026-11-20T08:15:{second:02}.000125Z","run_id":"r1","manifest_id":"manifest-{number:032x}",'
        f'"metric":"h","step":{number},"split":"train","dataset":null,'
        f'"descriptor":{{"payload":{payload},"shape":[2],"type":"list","version":"v1"}}}}\n'
    )


def steps(path: object) -> list[int]:
    frame = codex_obs.payloads(path)  # type: ignore[arg-type]
    assert dict(frame.schema) == SCHEMA
    return frame["step"].to_list()


def test_every_field_of_a_descriptor_has_its_column(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path, run_id="r1") as run:
        run.log({"hist": {"counts": [1, 2], "edges": [0, 1, 2]}}, step=3, split="eval", dataset="d", timestamp=1.5)
        run.log({"image": np.zeros((2, 3)), "loss": 0.5}, step=4, timestamp=2.5)
        run.log({"word": "é\n", "file": Path("a/b"), "long": "x" * 2**21}, step=5, timestamp=3.5)
    frame = codex_obs.payloads(tmp_path)
    assert dict(frame.schema) == SCHEMA
    assert frame["metric"].to_list() == ["hist", "image", "word", "file", "long"]
    first = frame.row(0, named=True)
    assert first.pop("manifest_id").startswith("manifest-")
    assert first == {
        "stream": "main",
        "run_id": "r1",
        "timestamp": datetime(1970, 1, 1, 0, 0, 1, 500_000, tzinfo=UTC),
        "step": 3,
        "split": "eval",
        "metric": "hist",
        "dataset": "d",
        "type": "dict",
        "shape": None,
        "payload": '{"counts":[1,2],"edges":[0,1,2]}',
        "path": None,
        "truncated_bytes": None,
        "version": "v1",
    }
    assert frame["shape"].to_list()[1] == [2, 3]
    assert [json.loads(text) for text in frame["payload"].to_list()[1:3]] == [[[0.0] * 3] * 2, "é\n"]
    assert frame["path"].to_list()[3] == "a/b"
    assert frame["payload"].to_list()[4] is None
    assert frame["truncated_bytes"].to_list()[4] > 2**20


def test_rows_find_their_payload_and_a_run_without_one_has_the_same_columns(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "plain") as run:
        run.log({"loss": 0.5})
    assert steps(tmp_path / "plain") == []
    with codex_obs.init(tmp_path / "empty"):
        pass
    assert steps(tmp_path / "empty") == []
    with codex_obs.init(tmp_path / "run") as run:
        for step in range(5):
            run.log({"loss": 0.5, "h": [step, 1]}, step=step)
    rows = codex_obs.read(tmp_path / "run").filter(pl.col("manifest_id").is_not_null())
    joined = rows.join(codex_obs.payloads(tmp_path / "run"), on="manifest_id", how="left")
    assert joined["payload"].to_list() == [f"[{step},1]" for step in range(5)]


def test_what_is_no_run_is_named_as_for_read(tmp_path: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(codex_obs.NoLogError) as of_payloads:
            codex_obs.payloads(path)
        with pytest.raises(codex_obs.NoLogError) as of_rows:
            codex_obs.read(path)
        assert str(of_payloads.value) == str(of_rows.value)
    with pytest.raises(codex_obs.NoLogError, match="list is empty"):
        codex_obs.payloads([])


def test_streams_shards_archives_and_compressed_files_are_read_oldest_first(tmp_path: Path) -> None:
    small = {"max_shard_bytes": 4000, "backup_count": 2}
    with codex_obs.init(tmp_path, run_id="r1", **small) as run:  # type: ignore[arg-type]
        for step in range(0, 200, 2):
            run.log({"h": [step, "x" * 50]}, step=step, timestamp=float(step))
    with codex_obs.init(tmp_path, rank=3, **small) as run:  # type: ignore[arg-type]
        for step in range(1, 200, 2):
            run.log({"h": [step, "x" * 50]}, step=step, timestamp=float(step))
    names = {path.name for path in tmp_path.iterdir()}
    assert {"metrics_manifest.ndjson.archive-000001.zst", "metrics_manifest.rank-3.ndjson.archive-000001.zst"} <= names
    shard = tmp_path / "metrics_manifest.ndjson.2"
    shard.with_name(f"{shard.name}.gz").write_bytes(gzip.compress(shard.read_bytes()))
    shard.unlink()
    frame = codex_obs.payloads(tmp_path)
    assert frame["step"].to_list() == list(range(200))
    assert frame["stream"].to_list() == ["main", "rank-3"] * 100
    # The same by a tool that knows nothing of ours, from what is plain.
    plain_files = [path for path in logs(tmp_path)["metrics_manifest.ndjson"] if path.suffix not in (".gz", ".zst")]
    assert plain_files
    for path in plain_files:
        seen = duckdb.execute(
            f"SELECT manifest_id, step FROM read_json('{path}', format='newline_delimited', columns="
            "{manifest_id: 'VARCHAR', step: 'BIGINT'})"
        ).fetchall()
        plain = pl.read_ndjson(path, infer_schema_length=None).select("manifest_id", "step").rows()
        ours = codex_obs.payloads(path).select("manifest_id", "step").rows()
        assert seen == plain == ours


def test_a_killed_run_s_payloads_are_brought_back(tmp_path: Path) -> None:
    program = "import codex_obs, os, sys\nrun = codex_obs.init(sys.argv[1])\n"
    program += "for step in range(300):\n    run.log({'h': [step]}, step=step)\nos.kill(os.getpid(), 9)\n"
    subprocess.run([sys.executable, "-c", program, tmp_path], check=False, timeout=60)
    assert steps(tmp_path) == list(range(300))
    rows = codex_obs.read(tmp_path)
    assert set(rows["manifest_id"]) == set(codex_obs.payloads(tmp_path)["manifest_id"])


@pytest.mark.root
def test_a_reader_that_may_not_write_sees_the_payloads_of_a_dead_process(open_dir: Path) -> None:
    run_dir = open_dir / "run"
    leave_in_journal(run_dir, "{'h': [step]}", 300)
    require_that_nobody_sees(run_dir, 300, lambda: _backend.read_payloads([str(run_dir)])[1].rows)
    assert steps(run_dir) == list(range(300))


def test_what_is_no_structured_value_is_counted_and_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "metrics.ndjson").write_text("")
    (tmp_path / "metrics_manifest.ndjson").write_text(
        line(1) + "\n" + '{"metric":"loss","value":1}\n' + line(2, '"\\u00e9"') + line(3)[:-9]
    )
    (tmp_path / "metrics_manifest.ndjson.1.bak").write_text(line(0))
    with caplog.at_level(logging.WARNING, "codex_obs"):
        frame = codex_obs.payloads(tmp_path)
    assert frame["step"].to_list() == [1, 2]
    assert json.loads(frame["payload"][1]) == "é"
    first, second = caplog.messages
    assert "Of 4 lines, 2 lines that are no structured values were skipped" in first
    assert 'metrics_manifest.ndjson:3: no text "manifest_id"' in first
    assert "metrics_manifest.ndjson.1.bak" in second
    with caplog.at_level(logging.WARNING, "codex_obs"):
        caplog.clear()
        assert codex_obs.read(tmp_path).is_empty()
    assert caplog.messages == [], "the rows' log has nothing to say of the manifest"


def test_several_runs_are_read_at_once_and_each_file_once(tmp_path: Path) -> None:
    for number, name in enumerate(("a", "b")):
        with codex_obs.init(tmp_path / name, run_id=name) as run:
            run.log({"h": [number], "loss": number}, step=number, timestamp=10.0 - number)
    both = [tmp_path / "a", tmp_path / "b", tmp_path / "b" / ".." / "a", tmp_path / "b" / "metrics.ndjson"]
    assert codex_obs.payloads(both[:3])["run_id"].to_list() == ["b", "a"]
    rows = codex_obs.read(both)
    assert rows.select("run_id", "metric").rows() == [("b", "h"), ("b", "loss"), ("a", "h"), ("a", "loss")]
    assert codex_obs.scan(both).collect().equals(rows)
    summary = codex_obs.summarize(both)
    assert summary.select("run_id", "metric", "count").rows() == [
        ("b", "h", 1),
        ("b", "loss", 1),
        ("a", "h", 1),
        ("a", "loss", 1),
    ]
    assert codex_obs.recover(both[:2])["rows_recovered"] == 0


def test_an_open_run_is_flushed_before_it_is_read(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path) as run:
        for step in range(50):
            run.log({"h": [step], "loss": 0.5}, step=step)
            assert codex_obs.payloads(run).height == step + 1
        assert codex_obs.read(run).height == 100
    assert codex_obs.read([run]).height == 100
    assert reading.summarize(run)["count"].to_list() == [50, 50]
