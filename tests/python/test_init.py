"""What `init` writes, continues and refuses."""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import stat
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest

import codex_obs
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from pathlib import Path

SCHEMAS = {
    "params": "run_params",
    "run": "run_session",
    "tracking_summary": "tracking_component",
    "metrics": "run_metrics",
}


def schema(name: str) -> Any:
    package = __import__("pathlib").Path(codex_obs.__path__[0])
    return json.loads((package / "schemas" / f"{name}.schema.json").read_text())


def test_a_session_leaves_records_of_its_kind_in_every_file(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["train.py", "--lr", "3e-4"])
    config = {"lr": 3e-4, "seed": 7, "batch_size": 32, "grad_accum": 4, "layers": (1, 2)}
    with codex_obs.init(run_dir, config=config, tags={"team": "a"}, name="first", run_id="r1") as run:
        run.log({"loss": 0.5}, step=3)
    assert (run.run_id, run.name, run.path, run.stream) == ("r1", "first", run_dir, "main")

    start, finish = read_rows(run_dir, "run")
    versions = start.pop("versions")
    assert isinstance(versions, dict)
    assert versions["python"] == platform.python_version()
    assert versions["codex_obs"] == codex_obs.__version__
    assert re.fullmatch("[0-9a-f]{64}", str(start.pop("config_hash")))
    assert isinstance(start.pop("user"), str)
    assert isinstance(start.pop("git"), dict | None)
    assert start == {
        "$schema": "https://codexml.ai/schemas/run_session.schema.json",
        "schema_version": "v1",
        "timestamp": start["timestamp"],
        "run_id": "r1",
        "record": "start",
        "host": platform.node(),
        "pid": os.getpid(),
        "stream": "main",
        "job": None,
        "at": {"shard": 1, "offset": 0},
        "resume_step": None,
    }
    assert (finish["record"], finish["status"]) == ("finish", "finished")

    (params,) = read_rows(run_dir, "params")
    assert params["cli"] == {"argv": ["train.py", "--lr", "3e-4"]}
    assert params["config"] == {**config, "layers": [1, 2]}
    assert params["derived"] == {"seed": 7, "effective_batch_size": 128}
    assert params["metadata"] == {"name": "first", "tags": {"team": "a"}}

    (enabled,) = read_rows(run_dir, "tracking_summary")
    assert (enabled["component"], enabled["status"], enabled["reason"]) == ("ndjson", "enabled", "ndjson:started")

    for kind, name in SCHEMAS.items():
        validator = jsonschema.Draft202012Validator(schema(name))
        for row in read_rows(run_dir, kind):
            validator.validate(row)


def test_the_empty_run_is_whole_when_init_returns(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        assert (run_dir / "metrics.ndjson").read_bytes() == b""
        identity = json.loads((run_dir / "run.json").read_text())
        assert (identity["run_id"], identity["name"]) == (run.run_id, run.name)
        assert re.fullmatch("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", run.run_id)
        assert run.flush()
        (params,) = read_rows(run_dir, "params")
        assert (params["config"], params["derived"], "metadata" in params) == ({}, {}, False)
        assert [row["config_hash"] for row in read_rows(run_dir, "run")] == [None]
        jsonschema.validate(identity, schema("run"))


def test_the_same_config_has_the_same_hash_whatever_its_order(tmp_path: Path) -> None:
    hashes = []
    for number, config in enumerate([{"a": 1, "b": [2.5]}, {"b": (2.5,), "a": 1}, {"a": 1, "b": [2.0]}]):
        with codex_obs.init(tmp_path / str(number), config=config):
            pass
        hashes.append(read_rows(tmp_path / str(number), "run")[0]["config_hash"])
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_directory_that_exists_is_continued(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", name="first") as run:
        run.log({"loss": 1.0})
        run.log({"loss": 0.5}, step=41)
    with codex_obs.init(run_dir) as again:
        assert again is not run
        assert (again.run_id, again.name) == ("r1", "first")
        again.log({"loss": 0.4})
    assert [(row["run_id"], row["step"]) for row in read_rows(run_dir)] == [("r1", 0), ("r1", 41), ("r1", 42)]
    records = read_rows(run_dir, "run")
    assert [row["record"] for row in records] == ["start", "finish"] * 2
    assert [row.get("resume_step") for row in records] == [None, None, 42, None]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_a_resume_step_is_where_counting_goes_on(way: str, run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with codex_obs.init(run_dir) as run:
        run.log({"loss": 1.0}, step=900)
    if way == "environment":
        monkeypatch.setenv("CODEX_OBS_RESUME_STEP", "500")
    with codex_obs.init(run_dir, **({"resume_step": 500} if way == "argument" else {})) as run:  # type: ignore[arg-type]  # a dict of one field
        run.log({"loss": 0.9})
        run.log({"loss": 0.8})
    assert [row["step"] for row in read_rows(run_dir)] == [900, 500, 501]
    assert [row.get("resume_step") for row in read_rows(run_dir, "run")] == [None, None, 500, None]


def test_another_run_id_than_the_directory_s_is_a_conflict(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1"):
        with pytest.raises(codex_obs.ConflictError, match="'r1', not 'r2'"):
            codex_obs.init(run_dir, run_id="r2")
        with pytest.raises(codex_obs.ConflictError, match="name"):
            codex_obs.init(run_dir, name="another")
    with pytest.raises(codex_obs.ConflictError, match="r1"):
        codex_obs.init(run_dir, run_id="r2")
    with codex_obs.init(run_dir, run_id="r1") as run:
        assert run.run_id == "r1"


def test_a_cell_that_is_run_twice_gets_the_same_run(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = codex_obs.init(run_dir, config={"lr": 0.1})
    assert codex_obs.init(run_dir, config={"lr": 0.1}) is run
    assert codex_obs.init(run_dir) is run
    assert caplog.messages == []
    assert codex_obs.init(run_dir, config={"lr": 0.2}, backup_count=9, tags={"new": 1}) is run
    assert caplog.messages == [
        f"codex_obs: run {run.name}: {run_dir} is already open, and keeps its backup_count, tags: close it first"
    ]
    assert dict(run.config) == {"lr": 0.2}
    assert run.close()
    assert [row["config"] for row in read_rows(run_dir, "params")] == [{"lr": 0.1}, {"lr": 0.2}]
    assert [row["record"] for row in read_rows(run_dir, "run")] == ["start", "finish"]


def test_a_config_that_was_changed_in_place_is_logged_again(run_dir: Path) -> None:
    config = {"optimizer": {"lr": 0.1}}
    with codex_obs.init(run_dir, config=config) as run:
        config["optimizer"]["lr"] = 0.2
        assert codex_obs.init(run_dir, config=config) is run
    lines = [row["config"] for row in read_rows(run_dir, "params")]
    assert lines == [{"optimizer": {"lr": 0.1}}, {"optimizer": {"lr": 0.2}}]


def test_the_same_directory_by_another_path_is_the_same_run(
    tmp_path: Path, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = codex_obs.init(run_dir)
    (tmp_path / "link").symlink_to(run_dir)
    assert codex_obs.init(tmp_path / "link") is run
    assert codex_obs.init(str(run_dir) + "/") is run
    assert codex_obs.init(tmp_path / "link" / ".." / "run") is run
    monkeypatch.chdir(tmp_path)
    assert codex_obs.init("run") is run
    monkeypatch.chdir(run_dir)
    assert codex_obs.init(".") is run


def test_a_run_stays_where_it_is_when_the_program_changes_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with codex_obs.init("run") as run:
        (tmp_path / "elsewhere").mkdir()
        monkeypatch.chdir(tmp_path / "elsewhere")
        run.log({"loss": 0.5})
    assert [row["value"] for row in read_rows(tmp_path / "run")] == [0.5]
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_another_directory_with_the_number_of_a_deleted_one_is_another_run(tmp_path: Path) -> None:
    run = codex_obs.init(tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "moved")
    other = codex_obs.init(tmp_path / "b")
    assert other is not run


def test_threads_that_open_one_directory_get_one_run(run_dir: Path) -> None:
    barrier = threading.Barrier(8)
    runs: list[codex_obs.Run] = []

    def open_it() -> None:
        barrier.wait()
        runs.append(codex_obs.init(run_dir))

    threads = [threading.Thread(target=open_it) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(runs) == 8
    assert len({id(run) for run in runs}) == 1


def test_the_environment_names_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_OBS_RUN_DIR", str(tmp_path / "from environment"))
    with codex_obs.init(name="../label") as run:
        assert (run.path, run.name) == (tmp_path / "from environment", "../label")
    with codex_obs.init(tmp_path / "argument") as run:
        assert run.path == tmp_path / "argument"
    monkeypatch.setenv("CODEX_OBS_RUN_DIR", "")
    monkeypatch.chdir(tmp_path)
    with codex_obs.init(name="named") as run:
        assert run.path == tmp_path / "runs" / "named"


def test_a_rank_writes_its_own_stream(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "2")
    monkeypatch.setenv("WORLD_SIZE", "8")
    with codex_obs.init(run_dir, config={"batch_size": 4}) as run:
        assert run.stream == "rank-2"
        run.log({"loss": 1.0})
    files = {path.name for path in run_dir.iterdir()}
    assert {"metrics.rank-2.ndjson", "params.rank-2.ndjson", "run.rank-2.ndjson", "run.json"} <= files
    assert "metrics.ndjson" not in files
    assert read_rows(run_dir, "params")[0]["derived"] == {"effective_batch_size": 32}
    with codex_obs.init(run_dir, rank=0) as run:
        assert run.stream == "main"


def test_file_modes_and_folder_modes(run_dir: Path) -> None:
    previous = os.umask(0)
    try:
        with codex_obs.init(run_dir, file_mode=0o640) as run:
            run.log({"loss": 1.0, "matrix": [1, 2]})
        assert os.umask(0) == 0
    finally:
        os.umask(previous)
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run_dir.iterdir() if path.is_file()}
    assert set(modes.values()) == {0o640}
    for folder in (run_dir, run_dir / ".codex_obs"):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o750


@pytest.mark.parametrize(
    "arguments",
    [
        {"run_dir": ""}, {"run_dir": b"bytes"}, {"run_dir": 5}, {"run_dir": "a\0b"}, {"run_id": ""}, {"run_id": 5},
        {"config": [1]}, {"config": "a"}, {"config": platform}, {"tags": [("a", 1)]}, {"settings": {"rank": 1}},
        {"rank": -1}, {"backup_count": "some"},
    ],
    ids=str,
)  # fmt: skip
def test_what_cannot_be_used_is_one_clear_error_and_leaves_nothing(
    arguments: dict[str, Any], working_directory: Path
) -> None:
    with pytest.raises(codex_obs.SettingError) as caught:
        codex_obs.init(**arguments)
    assert next(iter(arguments)) in str(caught.value)
    assert list(working_directory.iterdir()) == []


def test_an_unknown_keyword_is_named(working_directory: Path) -> None:
    with pytest.raises(TypeError, match="unknown setting 'project'"):
        codex_obs.init(project="x")  # type: ignore[call-arg]  # the point of the test
    assert list(working_directory.iterdir()) == []


def test_a_variable_that_cannot_be_used_is_an_error_at_init(
    working_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CODEX_TRACKING_NDJSON_MAX_BYTES", "64MiB")
    with pytest.raises(codex_obs.SettingError, match="CODEX_TRACKING_NDJSON_MAX_BYTES='64MiB' cannot be used"):
        codex_obs.init(name="a")
    assert list(working_directory.iterdir()) == []
    with codex_obs.init(name="a", max_shard_bytes=100):
        pass


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(codex_obs.LogFileError, match=re.escape(str(tmp_path / "file"))) as caught:
        codex_obs.init(tmp_path / "file")
    assert isinstance(caught.value, OSError)
    assert caught.value.errno in (errno.ENOTDIR, errno.EEXIST)


@pytest.mark.parametrize("kind", ["symlink", "hard link", "fifo", "folder"])
def test_what_is_not_ours_in_the_run_directory_is_refused(kind: str, run_dir: Path, tmp_path: Path) -> None:
    run_dir.mkdir()
    victim, planted = tmp_path / "victim", run_dir / "metrics.ndjson"
    victim.write_text("precious")
    if kind == "symlink":
        planted.symlink_to(victim)
    elif kind == "hard link":
        planted.hardlink_to(victim)
    elif kind == "fifo":
        os.mkfifo(planted)
    else:
        planted.mkdir()
    with pytest.raises(codex_obs.LogFileError, match=r"metrics\.ndjson"):
        codex_obs.init(run_dir)
    assert victim.read_text() == "precious"


def test_a_working_directory_that_is_gone_is_a_clear_error(tmp_path: Path) -> None:
    code = (
        "import os, codex_obs\n"
        "os.mkdir('gone'); os.chdir('gone'); os.rmdir('../gone')\n"
        "try: codex_obs.init('run')\n"
        "except codex_obs.LogFileError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("the working directory cannot be found")
