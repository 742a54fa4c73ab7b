"""Sessions of a run: which one wrote a row, and what going back to a checkpoint supersedes."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest

import codex_obs
from codex_obs.testing import read_rows

if TYPE_CHECKING:
    from collections.abc import Iterable

KILLED = """
import os, signal, sys, codex_obs
run = codex_obs.init(sys.argv[1], rank=int(sys.argv[2]), resume="allow")
for step in range(int(sys.argv[3]), int(sys.argv[4])):
    run.log({"loss": step}, step=step)
os.kill(os.getpid(), signal.SIGKILL)
"""

ALIVE = """
import sys, codex_obs
run = codex_obs.init(sys.argv[1], rank=2)
for step in range(6):
    run.log({"loss": step}, step=step)
run.flush()
print(flush=True)
sys.stdin.readline()
"""


def session(directory: Path, steps: Iterable[int], **arguments: Any) -> None:
    with codex_obs.init(directory, **arguments) as run:
        for step in steps:
            run.log({"loss": step}, step=step)


def killed(directory: Path, rank: int, first: int, last: int) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, (directory, rank, first, last))], check=False)
    assert done.returncode == -signal.SIGKILL


def seen(directory: Path, stream: str = "main", *, superseded: bool = False) -> list[tuple[int | None, int | None]]:
    """Give session and step of each row."""
    frame = codex_obs.read(directory, superseded=superseded)
    rows = frame.filter(frame["stream"].cast(str) == stream)
    return list(zip(rows["session"].to_list(), rows["step"].to_list(), strict=True))


def test_each_row_says_which_session_wrote_it(run_dir: Path) -> None:
    session(run_dir, range(3))
    session(run_dir, [])
    killed(run_dir, 0, 2, 5)
    session(run_dir, range(4, 6))
    assert seen(run_dir) == [(0, 0), (0, 1), (0, 2), (2, 2), (2, 3), (2, 4), (3, 4), (3, 5)]


def test_a_rewind_leaves_out_what_it_replaces_and_keeps_it_in_the_files(
    run_dir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    session(run_dir, range(6))
    with codex_obs.init(run_dir, resume="must", rewind_to=np.int64(3)) as run:
        for _ in range(2):
            run.log({"loss": -1.0})
    assert [row["step"] for row in read_rows(run_dir)] == [0, 1, 2, 3, 4, 5, 3, 4]
    caplog.set_level(logging.WARNING, "codex_obs")
    assert seen(run_dir) == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4)]
    assert "3 superseded rows left out" in caplog.text
    assert len(seen(run_dir, superseded=True)) == 8
    assert codex_obs.scan(run_dir).collect().height == 5
    assert codex_obs.scan(run_dir, superseded=True).collect().height == 8
    (loss,) = codex_obs.summarize(run_dir).to_dicts()
    assert (loss["count"], loss["last_step"], loss["max_value"]) == (5, 4, 2.0)
    (every,) = codex_obs.summarize(run_dir, superseded=True).to_dicts()
    assert (every["count"], every["max_value"]) == (8, 5.0)
    starts = [record for record in read_rows(run_dir, "run") if record["record"] == "start"]
    assert ["rewind_to" in start for start in starts] == [False, True]
    assert (starts[1]["rewind_to"], starts[1]["rewound"]) == (3, {})


def test_a_second_rewind_counts_for_the_rows_of_the_first_too(run_dir: Path) -> None:
    session(run_dir, range(6))
    session(run_dir, range(3, 8), rewind_to=3)
    session(run_dir, range(5, 7), rewind_to=5)
    assert seen(run_dir) == [(0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (2, 5), (2, 6)]
    session(run_dir, [0], rewind_to=0)
    assert seen(run_dir) == [(3, 0)]


def test_rows_without_a_step_and_below_the_place_stay(run_dir: Path) -> None:
    with codex_obs.init(run_dir) as run:
        run.event("MISC", "hello")
        run.log({"loss": 1.0}, step=-5)
        run.log({"loss": 1.0}, step=5)
    session(run_dir, [7], rewind_to=-4)
    assert [step for _, step in seen(run_dir)] == [None, -5, 7]


def test_a_rewind_reaches_across_rotated_shards(run_dir: Path) -> None:
    rules: Any = {"max_shard_bytes": 900, "backup_count": "all"}
    session(run_dir, range(20), **rules)
    session(run_dir, range(10, 25), rewind_to=10, **rules)
    session(run_dir, range(22, 24), rewind_to=22, **rules)
    assert len(list(run_dir.glob("metrics.ndjson.*"))) > 5
    expected = [(0, step) for step in range(10)] + [(1, step) for step in range(10, 22)] + [(2, 22), (2, 23)]
    assert seen(run_dir) == expected


def test_another_stream_s_rows_are_superseded_only_where_its_processes_have_ended(run_dir: Path) -> None:
    session(run_dir, range(6), rank=0)
    killed(run_dir, 1, 0, 6)
    alive = subprocess.Popen(
        [sys.executable, "-c", ALIVE, str(run_dir)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert alive.stdout is not None
    alive.stdout.readline()
    session(run_dir, range(4, 5), rank=0, rewind_to=4)
    alive.communicate("\n", timeout=60)
    assert [step for _, step in seen(run_dir)] == [0, 1, 2, 3, 4]
    assert [step for _, step in seen(run_dir, "rank-1")] == [0, 1, 2, 3]
    assert [step for _, step in seen(run_dir, "rank-2")] == list(range(6)), "it was still writing"
    session(run_dir, range(1, 2), rank=1)
    assert seen(run_dir, "rank-1") == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1)], "what comes later counts"


def test_another_rank_goes_back_for_itself_alone(run_dir: Path) -> None:
    session(run_dir, range(6), rank=0)
    session(run_dir, range(6), rank=1)
    session(run_dir, [2], rank=1, rewind_to=2)
    assert [step for _, step in seen(run_dir)] == list(range(6))
    assert seen(run_dir, "rank-1") == [(0, 0), (0, 1), (1, 2)]


def test_a_forked_worker_does_not_inherit_a_rewind(run_dir: Path) -> None:
    session(run_dir, range(6))
    with codex_obs.init(run_dir, resume="must", rewind_to=3) as run:
        run.log({"loss": 0}, step=3)
        if (child := os.fork()) == 0:
            run.log({"child": 1}, step=9)
            run.close()
            os._exit(0)
        os.waitpid(child, 0)
    (record,) = [json.loads(line) for line in (run_dir / f"run.pid-{child}.ndjson").read_text().splitlines()][:1]
    assert "rewind_to" not in record
    assert [step for _, step in seen(run_dir)] == [0, 1, 2, 3]


def test_resume_step_sets_counting_and_nothing_else(run_dir: Path) -> None:
    session(run_dir, range(6))
    with codex_obs.init(run_dir, resume="must", resume_step=3) as run:
        run.log({"loss": 1.0})
    assert seen(run_dir) == [*((0, step) for step in range(6)), (1, 3)]


def test_a_log_from_before_places_were_noted_is_read_as_it_stands(run_dir: Path) -> None:
    session(run_dir, range(3))
    session(run_dir, [1], resume_step=1)
    path = run_dir / "run.ndjson"
    records = [json.loads(line) for line in path.read_text().splitlines()]
    for record in records:
        record.pop("at", None)
        record.pop("job", None)
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert seen(run_dir) == [(None, 0), (None, 1), (None, 2), (None, 1)]
    session(run_dir, [7])
    assert seen(run_dir) == [(None, 0), (None, 1), (None, 2), (None, 1), (2, 7)]


def test_the_records_fit_their_schema(run_dir: Path) -> None:
    session(run_dir, range(3), rank=0)
    session(run_dir, range(3), rank=1)
    session(run_dir, [1], rank=0, rewind_to=1)
    schema = json.loads((Path(codex_obs.__path__[0]) / "schemas" / "run_session.schema.json").read_text())
    records = read_rows(run_dir, "run")
    for record in records:
        jsonschema.validate(record, schema)
    (rewound,) = (record["rewound"] for record in records if "rewound" in record)
    assert list(rewound) == ["rank-1"]  # type: ignore[call-overload]  # the schema says that it is an object


@pytest.mark.parametrize("value", [True, 1.5, "3", 2**63, -(2**63) - 1, np.bool_(1)], ids=repr)
def test_what_is_no_step_is_one_clear_error(value: Any, run_dir: Path) -> None:
    with pytest.raises(codex_obs.SettingError, match=r"^rewind_to="):
        codex_obs.init(run_dir, rewind_to=value)
    assert not run_dir.exists()


def test_an_open_run_keeps_its_place(run_dir: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = codex_obs.init(run_dir, rewind_to=3)
    assert codex_obs.init(run_dir, rewind_to=3) is run
    assert caplog.messages == []
    assert codex_obs.init(run_dir, rewind_to=4) is run
    (message,) = caplog.messages
    assert message.startswith("codex_obs: run ")
    assert message.endswith(f"{run_dir} is already open, and keeps its rewind_to: close it first")
