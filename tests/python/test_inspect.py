"""``codex-obs inspect``: a healthy, a lossy, a crashed, a running, a foreign and an empty directory."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

import codex_obs
from children import run_in_child
from codex_obs.system import SampleLog
from codex_obs.testing import open_run
from command import start

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = json.loads((files("codex_obs") / "schemas" / "inspection.schema.json").read_text("utf-8"))
VALIDATOR = Draft202012Validator(SCHEMA, format_checker=FormatChecker())


def inspected(path: Path, *, code: int) -> dict[str, Any]:
    """Inspect a run, as JSON and as a screen of 80 columns, and compare the two."""
    done = start("inspect", path, "--json", cwd=path.parent)
    assert done.returncode == code, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert [f"{error.json_path}: {error.message}" for error in VALIDATOR.iter_errors(document)] == []
    screen = start("inspect", path, cwd=path.parent, on_terminal=True)
    assert screen.returncode == code, screen.stderr
    lines = screen.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 40
    assert ("Nothing is lost." in lines) == (code == 0) == document["healthy"]
    return document


def test_a_healthy_run(tmp_path: Path) -> None:
    for _ in range(2):
        with codex_obs.init(tmp_path / "run", name="n", max_shard_bytes=3000, backup_count=1) as run:
            for step in range(30):
                run.log({"loss": 0.5, "acc": 1}, step=step)
            run.flush()
    (tmp_path / "run" / "model.pt").write_bytes(b"x" * 5000)
    document = inspected(tmp_path / "run", code=0)
    assert (document["status"], document["name"], document["rows"]) == ("finished", "n", 120)
    assert [(one["session"], one["status"], one["rows"]) for one in document["sessions"]] == [
        (0, "finished", 60), (1, "finished", 60),
    ]  # fmt: skip
    (metrics,) = [log for log in document["files"] if log["log"] == "metrics"]
    assert metrics["files"] - metrics["packed"] == 2
    assert metrics["packed"] > 2
    assert document["other_files"] == {"files": 1, "bytes": 5000}
    assert document["unknown_internals"] == []


def test_a_lossy_run(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with open_run(path, max_shard_bytes=500, backup_count=1, archive="none") as run:
        for step in range(20):
            run.log({"loss": 0.5}, step=step)
    retired = run.stats()["rows_retired"]
    assert retired > 0
    with (path / "metrics.ndjson").open("a") as file:
        file.write('no row\n{"metric":"m","step":1}\n{"metric":"m","value":"text","step":1}\n')
    (path / "metrics.ndjson.9.bz2").write_bytes(b"BZh")
    record = {"component": "ndjson", "status": "degraded", "extra": {"cause": "full", "count": 3}}
    with (path / "tracking_summary.ndjson").open("a") as file:
        file.write(f"{json.dumps(record)}\n{json.dumps(record)}\n")
    (path / "export_rejected.ndjson").write_text('{"reason":"no such name"}\n')
    (path / ".codex_obs" / "whose").touch()
    document = inspected(path, code=1)
    losses = {loss["kind"]: loss["count"] for loss in document["losses"]}
    assert losses == {
        "dropped": 6, "retired": retired, "unreadable_lines": 1, "unreadable_fields": 1, "rows_without_value": 1,
        "unread_files": 1, "refused": 1,
    }  # fmt: skip
    assert all(loss["words"] and loss["remedy"].endswith(".") for loss in document["losses"])
    assert document["unknown_internals"] == ["whose"]


def test_a_crashed_run_is_recovered_and_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "run"
    run_in_child(lambda: codex_obs.init(path).log({"loss": 1.0, "acc": 2.0}, step=1))
    document = json.loads(start("inspect", path, "--json", cwd=tmp_path).stdout)
    assert [(one["stream"], one["state"]) for one in document["journals"]] == [("main", "recovered")]
    document = inspected(path, code=0)
    assert (document["status"], document["rows"], document["journals"]) == ("crashed", 2, [])


def test_a_running_run(tmp_path: Path) -> None:
    with codex_obs.init(tmp_path / "run") as run:
        run.log({"loss": 1.0}, step=1)
        run.flush()
        document = inspected(tmp_path / "run", code=0)
    assert document["status"] == "running"
    assert [(one["stream"], one["state"]) for one in document["journals"]] == [("main", "live")]
    assert [(one["stream"], one["live"], one["rows"]) for one in document["streams"]] == [("main", True, 1)]


def test_rows_that_cannot_be_written_yet_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "run"
    program = (
        "import codex_obs, resource, sys\n"
        "run = codex_obs.init(sys.argv[1])\n"
        "run.log({'a': 0})\n"
        "assert run.flush()\n"
        "size = (run.path / 'metrics.ndjson').stat().st_size\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))\n"
        "run.log({f'm{number}': number for number in range(5)})\n"
        "print('logged', flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"logged\n"
        document = inspected(path, code=0)
        child.kill()
    (journal,) = document["journals"]
    assert (document["rows"], journal["state"], journal["rows_waiting"], journal["why"]) == (1, "live", 5, None)
    assert inspected(path, code=0)["rows"] == 6, "they were safe"


def test_drops_in_a_summary_that_was_packed_count(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with codex_obs.init(path) as run:
        run.log({"loss": 0.5}, step=1)
    log = SampleLog(path / "tracking_summary.ndjson", codex_obs.Settings(max_shard_bytes=500, backup_count=1))
    for _ in range(20):
        log.write({"component": "ndjson", "status": "degraded", "reason": "x", "extra": {"cause": "full", "count": 3}})
    assert sorted(file.name for file in path.glob("tracking_summary*.zst"))
    document = inspected(path, code=1)
    assert [(loss["kind"], loss["count"]) for loss in document["losses"]] == [("dropped", 60)]


def test_a_foreign_log(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.ndjson").write_text('{"metric":"loss","step":7,"value":1}\n')
    document = inspected(tmp_path / "run", code=0)
    assert (document["status"], document["run_id"], document["rows"]) == (None, None, 1)
    assert [one["rows_without_session"] for one in document["streams"]] == [1]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["metrics.ndjson"]


@pytest.mark.parametrize("name", ["empty", "missing", "file", "runs"])
def test_what_is_no_run_is_exit_code_2(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    codex_obs.init(tmp_path / "runs" / "a").close()
    done = start("inspect", name, "--json", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


def test_a_destination_that_lags_says_by_how_much(tmp_path: Path, tracking: Any) -> None:
    path = tmp_path / "run"
    with codex_obs.init(path, mlflow_tracking_uri=tracking.uri) as run:
        run.log({"loss": 1.0, "note": "text"}, step=1)
    (delivery,) = inspected(path, code=0)["destinations"]
    assert (delivery["points_taken"], delivery["points_refused"], delivery["rows_not_sent"]) == (1, 0, 1)
    assert (delivery["rows_left"], delivery["bytes_left"], delivery["end_left"]) == (0, 0, False)
    assert delivery["told"] == "finished"
    tracking.refusal = (503, "not now")
    with codex_obs.init(path, mlflow_tracking_uri=tracking.uri) as run:
        for step in range(7):
            run.log({"loss": 1.0}, step=step)
        run.close(timeout=0.3)
    (delivery,) = inspected(path, code=0)["destinations"]
    assert (delivery["stream"], delivery["rows_left"], delivery["end_left"]) == ("main", 7, True)
    assert tracking.uri in delivery["address"]


def test_several_runs_are_several_documents(tmp_path: Path) -> None:
    for name in "ab":
        codex_obs.init(tmp_path / name).close()
    documents = json.loads(start("inspect", "a", "b", "--json", cwd=tmp_path).stdout)
    assert [document["path"] for document in documents] == ["a", "b"]
