"""``codex-ndjson``: what it reads, what it writes, what it says and how it exits."""

from __future__ import annotations

import csv
import io
import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from codex_obs import reading
from terminal import shown_by

COMMAND = [sys.executable, "-c", "from codex_obs.cli import main; main()"]
ROWS = '{"metric":"loss","step":1,"value":0.5}\n{"metric":"acc","step":1,"value":0.25}\n'


def run(*arguments: str | Path, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=cwd,
        env={**os.environ, "PYTHONUTF8": "1", **environment},
        capture_output=True,
        timeout=60,
        check=False,
    )
    # Decoded here, because Python's text mode would turn a carriage return into a newline.
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Give a run directory with two groups."""
    directory = tmp_path / "run"
    directory.mkdir()
    (directory / "metrics.ndjson").write_text(ROWS)
    return directory


# --- Where results go ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("output", ["csv", "parquet"])
def test_csv_and_parquet_go_beside_the_log(log: Path, tmp_path: Path, output: str) -> None:
    done = run("summarize", "--input", "run", "--output", output, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"Wrote run/metrics_summary.{output} (2 rows)\n", "")
    written = log / f"metrics_summary.{output}"
    assert stat.S_IMODE(written.stat().st_mode) == 0o600
    frame = pl.read_parquet(written) if output == "parquet" else pl.read_csv(written)
    assert frame["metric"].to_list() == ["acc", "loss"]
    assert sorted(path.name for path in log.iterdir()) == ["metrics.ndjson", written.name]


def test_csv_is_the_default(log: Path, tmp_path: Path) -> None:
    assert run("summarize", "--input", log, cwd=tmp_path).stdout == f"Wrote {log}/metrics_summary.csv (2 rows)\n"


def test_json_is_an_array_of_objects_on_standard_output(log: Path, tmp_path: Path) -> None:
    done = run("summarize", "--input", log, "--output", "json", cwd=tmp_path)
    rows = json.loads(done.stdout)
    frame = reading.summarize(log)
    assert [list(row) for row in rows] == [frame.columns] * 2
    assert [row["mean_value"] for row in rows] == [0.25, 0.5]
    assert (done.returncode, done.stderr) == (0, "")
    (log / "metrics.ndjson").write_text("")
    assert json.loads(run("summarize", "--input", log, "--output", "json", cwd=tmp_path).stdout) == []


def test_a_table_is_for_people_and_has_no_escape_sequence(log: Path, tmp_path: Path) -> None:
    done = run("summarize", "--input", log, "--output", "table", cwd=tmp_path, NO_COLOR="1")
    assert "loss" in done.stdout
    assert "\x1b" not in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("output", ["csv", "parquet", "json", "table"])
def test_dest_takes_every_format(log: Path, tmp_path: Path, output: str) -> None:
    done = run("summarize", "--input", log, "--output", output, "--dest", "out", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "Wrote out (2 rows)\n")
    to_pipe = subprocess.run(
        [*COMMAND, "summarize", "--input", str(log), "--output", output, "--dest", "-"],
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert to_pipe.stdout == (tmp_path / "out").read_bytes()


def test_the_mode_of_files_is_the_one_of_the_log(log: Path, tmp_path: Path) -> None:
    run("summarize", "--input", log, cwd=tmp_path, CODEX_LOG_FILE_MODE="640")
    assert stat.S_IMODE((log / "metrics_summary.csv").stat().st_mode) == 0o640


# --- What is read ----------------------------------------------------------------------------------------------------


def test_without_input_the_environment_this_folder_and_runs_are_looked_at(log: Path, tmp_path: Path) -> None:
    here = tmp_path / "here"
    for number, name in enumerate(("runs/old", "runs/new", "runs/empty")):
        (here / name).mkdir(parents=True)
        if "empty" not in name:
            path = here / name / "metrics.ndjson"
            path.write_text(json.dumps({"metric": name, "value": 1}) + "\n")
            os.utime(path, (number, number))
    newest = run("summarize", cwd=here)
    assert (newest.stdout, newest.stderr) == ("Wrote runs/new/metrics_summary.csv (1 rows)\n", "Reading runs/new\n")
    (here / "metrics.ndjson").write_text(ROWS)
    assert run("summarize", cwd=here).stdout == "Wrote metrics_summary.csv (2 rows)\n"
    assert (
        run("summarize", cwd=here, CODEX_OBS_RUN_DIR=str(log)).stdout == f"Wrote {log}/metrics_summary.csv (2 rows)\n"
    )


def test_several_files_are_one_run(log: Path, tmp_path: Path) -> None:
    (log / "metrics.ndjson.1").write_text('{"metric":"loss","step":0,"value":1}\n')
    (log / "metrics.rank-1.ndjson").write_text('{"metric":"loss","step":2,"value":9}\n')
    files = [log / "metrics.ndjson", log / "metrics.ndjson.1", log / "metrics.ndjson"]
    done = run("summarize", "--input", *files, "--output", "json", cwd=tmp_path)
    loss = json.loads(done.stdout)[1]
    assert (loss["count"], loss["first_value"], loss["last_value"]) == (2, 1.0, 0.5)


@pytest.mark.parametrize("arguments", [("--input", "nowhere"), ("--input", "empty"), (), ("--input", "nowhere.ndjson")])
def test_nothing_to_read_is_exit_code_2_and_one_sentence(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    (tmp_path / "empty").mkdir()
    done = run("summarize", *arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith(".\n")
    assert not list(tmp_path.rglob("metrics_summary*"))


@pytest.mark.parametrize("command", ["summarize", "recover"])
def test_a_path_that_cannot_be_looked_at_is_exit_code_2_and_one_sentence(tmp_path: Path, command: str) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for name, reason in (("n" * 300, "File name too long"), ("loop", "Too many levels of symbolic links")):
        expected = (2, "", f"{name} cannot be read: {reason}.\n")
        done = run(command, "--input", name, cwd=tmp_path)
        assert (done.returncode, done.stdout, done.stderr) == expected
        done = run(command, cwd=tmp_path, CODEX_OBS_RUN_DIR=name)
        assert (done.returncode, done.stdout, done.stderr) == expected


def test_a_run_is_found_from_a_folder_that_is_gone(log: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = ["bash", "-c", 'rmdir "$PWD"; exec "$@"', "bash", *COMMAND, "summarize"]
    for arguments, code in (((), 2), (("--input", str(log)), 0)):
        gone.mkdir(exist_ok=True)
        done = subprocess.run([*script, *arguments], cwd=gone, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr


def test_wrong_usage_is_exit_code_2(log: Path, tmp_path: Path) -> None:
    assert run("summarize", "--output", "xml", cwd=tmp_path).returncode == 2
    assert run("summarize", "--input", log, "--input", log, cwd=tmp_path).returncode == 2
    done = run("summarize", "--input", log, cwd=tmp_path, CODEX_LOG_FILE_MODE="rw")
    assert done.returncode == 2
    assert done.stderr.startswith("CODEX_LOG_FILE_MODE")


# --- What is skipped -------------------------------------------------------------------------------------------------


def test_skipped_lines_are_named_and_only_strict_makes_them_a_failure(log: Path, tmp_path: Path) -> None:
    with (log / "metrics.ndjson").open("a") as file:
        file.write('nonsense\n{"no":"metric"}\n' + "x\n" * 10 + '{"metric":"lo')
    words = (
        "Of 15 lines, 13 lines that are no rows were skipped:\n"
        "  run/metrics.ndjson:3: not JSON\n"
        '  run/metrics.ndjson:4: no text "metric"\n'
        + "".join(f"  run/metrics.ndjson:{line}: not JSON\n" for line in range(5, 13))
        + "  and 3 more\n"
    )
    lenient = run("summarize", "--input", "run", cwd=tmp_path)
    assert (lenient.returncode, lenient.stdout, lenient.stderr) == (
        0,
        "Wrote run/metrics_summary.csv (2 rows)\n",
        words,
    )
    strict = run("summarize", "--input", "run", "--strict", cwd=tmp_path)
    assert (strict.returncode, strict.stdout, strict.stderr) == (1, "Wrote run/metrics_summary.csv (2 rows)\n", words)


def test_strict_without_skipped_lines_is_a_success(log: Path, tmp_path: Path) -> None:
    assert run("summarize", "--input", log, "--strict", cwd=tmp_path).returncode == 0


# --- Harmless output -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", ["=", "+", "-", "@", "'", "'=", "\t", "\r", "\n", "\r\n"])
def test_cells_that_a_spreadsheet_would_run_are_made_text(log: Path, tmp_path: Path, start: str) -> None:
    name = f"{start}1+1"
    fields = {
        "metric": name,
        "run_id": name,
        "split": name,
        "dataset": name,
        "tags": {"phase": name, "manifest_id": name},
    }
    (log / "metrics.ndjson").write_text(json.dumps({**fields, "value": -5, "step": -3}) + "\n")
    done = run("summarize", "--input", log, "--dest", "-", cwd=tmp_path)
    (row,) = csv.DictReader(io.StringIO(done.stdout, newline=""))
    texts = [
        "run_id",
        "split",
        "metric",
        "dataset",
        "first_manifest_id",
        "last_manifest_id",
        "first_phase",
        "last_phase",
    ]
    assert [row[column] for column in texts] == [f"'{name}"] * len(texts)
    assert (row["min_value"], row["first_step"]) == ("-5.0", "-3")
    assert reading.summarize(log)["metric"].to_list() == [name]


def test_control_characters_reach_no_terminal(log: Path, tmp_path: Path) -> None:
    name = "\x1b[31mred\x07\u202e\x9b"
    (log / "metrics.ndjson").write_text(json.dumps({"metric": name}) + "\n" + "{\x1b\n")
    for output in ("table", "json", "csv"):
        shown = shown_by([*COMMAND, "summarize", "--input", str(log), "--output", output, "--dest", "-"])
        assert b"red" in shown
        for control in (b"\x1b", b"\x07", "\u202e".encode(), "\x9b".encode()):
            assert control not in shown, output
    hostile = tmp_path / "\x1b[31m"
    assert "\x1b" not in run("summarize", "--input", hostile, cwd=tmp_path).stderr
    hostile.mkdir()
    (hostile / "metrics.ndjson").write_text("nonsense\n")
    done = run("summarize", "--input", hostile, cwd=tmp_path)
    assert "\x1b" not in done.stderr + done.stdout


# --- Whole or not at all ---------------------------------------------------------------------------------------------


def test_a_destination_that_is_no_file_is_refused_before_any_work(log: Path, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "pipe")
    for destination in ("folder", "link", "pipe", "missing/out.csv", f"{'n' * 300}/out.csv"):
        done = run("summarize", "--input", log, "--dest", destination, cwd=tmp_path)
        assert (done.returncode, done.stdout) == (2, ""), destination
        assert done.stderr.count("\n") == 1
    assert not (tmp_path / "elsewhere").exists()


def test_an_output_that_cannot_be_written_leaves_what_was_there(log: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.csv"
    target.write_text("before")
    limited = ["bash", "-c", 'ulimit -f 0; trap "" XFSZ; exec "$@"', "bash", *COMMAND]
    done = subprocess.run(
        [*limited, "summarize", "--input", str(log), "--dest", str(target)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot be written" in done.stderr
    assert target.read_text() == "before"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.csv", "run"]
    done = subprocess.run(
        [*limited, "summarize", "--input", str(log)], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stderr.endswith("summary.csv cannot be written: File too large. Name another file with --dest.\n")


# --- The rest --------------------------------------------------------------------------------------------------------


def test_version_and_help(tmp_path: Path) -> None:
    version = run("--version", cwd=tmp_path)
    assert (version.returncode, version.stderr) == (0, "")
    assert version.stdout.strip()
    overview = run("--help", cwd=tmp_path).stdout
    assert "summarize" in overview
    assert "..." not in overview.partition("Commands:")[2], "a description is cut off"
    assert run("-h", cwd=tmp_path).stdout == overview
    assert run("summarize", "-h", cwd=tmp_path).stdout == run("summarize", "--help", cwd=tmp_path).stdout


def test_a_reader_that_goes_away_is_no_traceback(log: Path, tmp_path: Path) -> None:
    lines = "".join(f'{{"metric":"m{number}"}}\n' for number in range(3000))
    (log / "metrics.ndjson").write_text(lines)
    arguments = [*COMMAND, "summarize", "--input", str(log), "--output", "json"]
    with subprocess.Popen(arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert b"Traceback" not in process.stderr.read()
        assert process.wait(60) == 1


@pytest.mark.parametrize("arguments", [("summarize", "--output", "json"), ("summarize",), ("recover",)])
def test_a_full_standard_output_is_one_sentence(log: Path, tmp_path: Path, arguments: tuple[str, ...]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*COMMAND, *arguments, "--input", str(log)],
            cwd=tmp_path,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    sentence = "Standard output cannot be written: No space left on device.\n"
    assert (done.returncode, done.stderr) == (1, sentence)


def test_recover_counts_what_it_found(log: Path, tmp_path: Path) -> None:
    done = run("recover", "--input", log, "--json", cwd=tmp_path)
    assert done.returncode == 0
    counters = json.loads(done.stdout)
    assert counters["rows_recovered"] == 0
    lines = run("recover", "--input", log, cwd=tmp_path).stdout.splitlines()
    assert lines == [f"{name}: {value}" for name, value in counters.items()]
    assert run("recover", "--input", log / "metrics.ndjson", cwd=tmp_path).returncode == 2
    assert run("recover", "--input", tmp_path / "missing", cwd=tmp_path).returncode == 2
