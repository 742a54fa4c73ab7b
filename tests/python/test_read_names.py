"""Which files of a folder are its log: what is read under which name, what is named instead, and what is read once."""

from __future__ import annotations

import bz2
import gzip
import os
from typing import TYPE_CHECKING

import pyarrow as pa
import pytest

from codex_obs import errors, reading
from codex_obs._remarks import is_complete

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def row(metric: str) -> str:
    return f'{{"metric":"{metric}","step":1,"value":0.5}}\n'


def metrics(path: Path) -> list[str]:
    return sorted(reading.read(path)["metric"].to_list())


def compress(path: Path, coding: str) -> None:
    content = path.read_bytes()
    packed = gzip.compress(content) if coding == "gz" else pa.compress(content, codec="zstd", asbytes=True)
    path.with_name(f"{path.name}.{coding}").write_bytes(packed)
    path.unlink()


@pytest.mark.parametrize("coding", ["gz", "zst"])
def test_a_run_that_was_compressed_whole_is_read_whole(tmp_path: Path, coding: str) -> None:
    names = ("metrics.ndjson", "metrics.ndjson.1", "metrics.rank-1.ndjson", "metrics.rank-1.ndjson.3")
    for name in names:
        (tmp_path / name).write_text(row(name))
        compress(tmp_path / name, coding)
    frame, report = reading.summarize_files([tmp_path])
    assert sorted(frame["metric"].to_list()) == sorted(names)
    assert is_complete(report)
    assert sorted(set(reading.read(tmp_path)["stream"].to_list())) == ["main", "rank-1"]
    given = reading.read(tmp_path / f"metrics.rank-1.ndjson.{coding}")
    assert given["stream"].to_list() == ["rank-1"]


@pytest.mark.parametrize("name", ["metrics.ndjson", "metrics.ndjson.2", "metrics.rank-1.ndjson"])
def test_the_plain_file_wins_and_what_is_no_copy_of_it_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text(row("plain") * 3)
    copy = tmp_path / f"{name}.gz"
    copy.write_bytes(gzip.compress(row("plain").encode() * 3))
    frame, report = reading.summarize_files([tmp_path])
    assert frame["count"].to_list() == [3]
    assert is_complete(report)
    copy.write_bytes(gzip.compress(row("other").encode()))
    frame, report = reading.summarize_files([tmp_path])
    assert frame["metric"].to_list() == ["plain"]
    assert report.unread_examples == [str(copy)]
    assert not is_complete(report)


@pytest.mark.parametrize(
    "name",
    [
        "metrics.ndjson.1.bz2",
        "metrics.ndjson.xz",
        "metrics.ndjson.old",
        "metrics.ndjson.1.bak",
        "metrics.ndjson~",
        "metrics.ndjson.01",
        "metrics.ndjson.0",
        "metrics (1).ndjson",
        "metrics copy.ndjson",
        "metrics.Rank-1.ndjson",
        "METRICS.NDJSON",
        "Metrics.ndjson.1.gz",
        "metrics.jsonl",
        "metrics_old.ndjson",
        "metrics.ndjson.1.gz.gz",
        "metrics.tar.gz",
        "metrics.txt",
        "metrics",
        "metrics.log.gz",
    ],
)
def test_files_that_look_like_a_log_and_are_not_read_are_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "metrics.ndjson").write_text(row("read"))
    content = row("unread").encode()
    compressors: dict[str, Callable[[bytes], bytes]] = {"bz2": bz2.compress, "gz": gzip.compress}
    packed = compressors.get(name.rpartition(".")[2], bytes)(content)
    (tmp_path / name).write_bytes(packed)
    frame, report = reading.summarize_files([tmp_path])
    assert frame["metric"].to_list() == ["read"]
    assert (report.unread_files, report.unread_examples) == (1, [str(tmp_path / name)])
    assert not is_complete(report)
    (tmp_path / "metrics.ndjson").unlink()
    with pytest.raises(errors.NoLogError, match="plain files,"):
        reading.summarize(tmp_path)


def test_what_is_no_log_is_not_named(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text(row("read"))
    for name in ("metrics_manifest.ndjson", "metrics_manifest.ndjson.1.bz2", "params.ndjson", "run.ndjson", "x.ndjson"):
        (tmp_path / name).write_text(row("no"))
    (tmp_path / "metrics_summary.csv").write_text("metric,value\n")
    (tmp_path / "metrics.csv").write_text("metric,value\nloss,1\n")
    (tmp_path / "metrics.md").write_text("# What is measured\n")
    (tmp_path / "metrics.ndjson.d").mkdir()
    (tmp_path / "metrics.ndjson.empty").touch()
    assert is_complete(reading.summarize_files([tmp_path])[1])


# --- One file is one source ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("other", ["metrics.latest.ndjson", "metrics.a.ndjson", "metrics.ndjson.7"])
@pytest.mark.parametrize("link", [os.symlink, os.link])
@pytest.mark.parametrize("name", ["metrics.ndjson", "metrics.ndjson.1", "metrics.rank-1.ndjson"])
def test_a_file_under_two_names_is_read_once(tmp_path: Path, link: object, name: str, other: str) -> None:
    names = ["metrics.ndjson", "metrics.ndjson.1", "metrics.ndjson.3", "metrics.rank-1.ndjson"]
    for each in names:
        (tmp_path / each).write_text(row(each))
    link(tmp_path / name, tmp_path / other)  # type: ignore[operator]
    assert metrics(tmp_path) == names
    _, report = reading.summarize_files([tmp_path])
    assert (report.files, is_complete(report)) == (4, True)
    frame = reading.read(tmp_path)
    if link is os.symlink:
        streams = dict(frame.select("metric", "stream").rows())
        assert streams[name] == ("rank-1" if "rank" in name else "main")


def test_links_that_lead_nowhere_do_not_refuse_the_rest(tmp_path: Path) -> None:
    (tmp_path / "metrics.ndjson").write_text(row("read"))
    (tmp_path / "metrics.ndjson.1").symlink_to("metrics.ndjson.1")
    (tmp_path / "metrics.ndjson.2").symlink_to("nowhere")
    (tmp_path / "metrics.a.ndjson").symlink_to("metrics.b.ndjson")
    (tmp_path / "metrics.b.ndjson").symlink_to("metrics.a.ndjson")
    (tmp_path / "metrics.c.ndjson").symlink_to("metrics.ndjson/through-a-file")
    frame, report = reading.summarize_files([tmp_path])
    assert frame["metric"].to_list() == ["read"]
    assert report.skipped == 5
    assert {reason for _, _, reason in report.skipped_examples} == {"not a regular file"}


# --- Nothing to read -------------------------------------------------------------------------------------------------


def test_a_folder_of_runs_is_answered_with_the_runs_below_it(tmp_path: Path) -> None:
    for name in ("b/one", "a", "b/two", "c/deep/three", "none/at/all"):
        (tmp_path / name).mkdir(parents=True)
        if "none" not in name:
            (tmp_path / name / "metrics.ndjson").touch()
    with pytest.raises(errors.NoLogError) as raised:
        reading.read(tmp_path)
    below = ", ".join(str(tmp_path / name) for name in ("a", "b/one", "b/two", "c/deep/three"))
    assert str(raised.value) == f"{tmp_path} holds no metrics log; there are runs below it: {below}"


def test_thousands_of_streams_are_read(tmp_path: Path) -> None:
    streams = 2000
    for number in range(streams):
        (tmp_path / f"metrics.pid-{number}.ndjson").write_text(row("m"))
    frame, report = reading.summarize_files([tmp_path])
    assert (frame["count"].to_list(), report.files) == ([streams], streams)
    assert reading.read(tmp_path).height == streams
