"""Ten thousand names, and what others have in the folders: TensorBoard's own reader and W&B's find each row once."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import codex_obs
from destination_files import EVENTS, offline_files
from faults.tally import wait_until
from peer_readers import DEADLINE_S, StandIn, needs_peers, read

if TYPE_CHECKING:
    from pathlib import Path

NAMES = 10_000
STEPS = 2
OWN = {"codex/step", "_timestamp", "_runtime", "_step"}

pytestmark = needs_peers


def test_ten_thousand_names_arrive_with_every_value(run_dir: Path, tmp_path: Path) -> None:
    names = [f"layer/{number}/{'ü' * (number % 3)} weight.{number}" for number in range(NAMES)]
    with codex_obs.init(run_dir, run_id="r1", tensorboard=True, wandb="offline") as run:
        for step in range(STEPS):
            run.log({name: number + step / 2 for number, name in enumerate(names)}, step=step)
        assert run.close(DEADLINE_S)
    expected = {f"train/{name}": [number + step / 2 for step in range(STEPS)] for number, name in enumerate(names)}

    scalars = read("read_events.py", run_dir / "tensorboard")["scalars"]
    assert {tag: [value for *_, value in points] for tag, points in scalars.items()} == expected
    (file,) = offline_files(run_dir)
    history = [record for kind, record in read("read_wandb.py", file) if kind == "history"]
    assert [record["values"].keys() - OWN for record in history] == [expected.keys()] * STEPS
    assert [[float(record["values"][name]) for record in history] for name in expected] == list(expected.values())
    with StandIn(tmp_path) as server:
        server.upload(file.parent)
    lines = server.lines("r1")
    assert [line["_step"] for line in lines] == list(range(STEPS))
    assert [[line[name] for line in lines] for name in expected] == list(expected.values())


def test_folders_that_are_deleted_while_the_run_logs_are_written_anew_and_read(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", tensorboard=True, wandb="offline", export_interval_s=0.02) as run:
        for step in range(30):
            run.log({"loss": step / 4}, step=step)
            if step in {10, 20}:
                wait_until(
                    lambda: (run_dir / EVENTS).exists() and bool(offline_files(run_dir)), DEADLINE_S, "both files"
                )
                for folder in ("tensorboard", "wandb"):
                    shutil.rmtree(run_dir / folder, ignore_errors=True)
        assert run.close(DEADLINE_S)
    scalars = read("read_events.py", run_dir / "tensorboard")["scalars"]
    assert scalars.keys() == {"train/loss"}
    assert [step for _, step, _ in scalars["train/loss"]] == list(range(30))
    (file,) = offline_files(run_dir)
    history = [record for kind, record in read("read_wandb.py", file) if kind == "history"]
    assert [(record["step"], int(record["values"]["codex/step"])) for record in history] == [
        (step, step) for step in range(30)
    ]


def test_what_another_tool_has_in_the_folder_of_wandb_stays_as_it_is(run_dir: Path) -> None:
    with codex_obs.init(run_dir, run_id="r1", wandb="offline"):
        pass
    (ours,) = offline_files(run_dir)
    folder = ours.parent
    shutil.rmtree(run_dir / "wandb")
    folder.mkdir(parents=True)
    ours.write_bytes(b"another tool's")
    neighbour = folder.parent / "offline-run-20260101_000000-other" / "run-other.wandb"
    neighbour.parent.mkdir()
    neighbour.write_bytes(b"another run's")
    with codex_obs.init(run_dir, wandb="offline", resume="allow") as run:
        run.log({"loss": 0.5})
        assert run.flush(DEADLINE_S)
    stats = run.stats()
    assert (stats["rows_written"], stats["rows_dropped"]) == (1, 0)
    assert (ours.read_bytes(), neighbour.read_bytes()) == (b"another tool's", b"another run's")
    (file,) = set(offline_files(run_dir)) - {ours, neighbour}
    assert sum(kind == "history" for kind, _ in read("read_wandb.py", file)) == 1
