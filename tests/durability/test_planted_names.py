"""Something else lies at each name that the engine opens, or the name of a run is not one."""

from __future__ import annotations

import os
import threading
from typing import TYPE_CHECKING

import pytest

import codex_obs
from faults.ledger import Entry
from faults.mounts import require

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from faults.ledger import Ledger

SECRET = b"someone else's\n"
NOBODY = 65534
FILES = ("metrics", "metrics_manifest", "params", "tracking_summary", "run")
NAMES = (
    *(f"{file}.ndjson" for file in FILES),
    "run.json",
    ".codex_obs",
    ".codex_obs/journal-main",
    ".codex_obs/lock-main",
    ".codex_obs/guard",
    "metrics.ndjson.1",
    "metrics_manifest.ndjson.1",
)
RUN_NAMES = ("../../x", "/absolute", "a\0b", "x" * 300, "..", ".", "", "a/b", "a\nb", "\ud800")
DEADLINE_S = 30.0


def symlink(path: Path, victim: Path) -> None:
    path.symlink_to(victim)


def dangling_symlink(path: Path, victim: Path) -> None:
    path.symlink_to(victim.with_name("nothing"))


def hard_link(path: Path, victim: Path) -> None:
    path.hardlink_to(victim)


def fifo(path: Path, victim: Path) -> None:
    del victim
    os.mkfifo(path)


def folder(path: Path, victim: Path) -> None:
    del victim
    path.mkdir()


def foreign_owner(path: Path, victim: Path) -> None:
    del victim
    if path.name == ".codex_obs":
        path.mkdir()
    else:
        path.write_bytes(SECRET)
    os.chown(path, NOBODY, NOBODY)


PLANTS = (symlink, dangling_symlink, hard_link, fifo, folder, foreign_owner)


@pytest.mark.parametrize("plant", PLANTS)
def test_planted_names(plant: Callable[[Path, Path], None], tmp_path: Path, ledger: Ledger) -> None:
    if plant is foreign_owner:
        require()
    entry = Entry(f"planted {plant.__name__.replace('_', ' ')} at a name that we open")
    for name in NAMES:
        if plant is folder and name == ".codex_obs":
            continue
        place = tmp_path / name.replace("/", "-")
        directory, victim = place / "run", place / "outside" / "victim"
        victim.parent.mkdir(parents=True)
        victim.write_bytes(SECRET)
        (directory / name).parent.mkdir(parents=True)
        plant(directory / name, victim)
        before = picture(directory / name)
        refusal, stats, lines = within_deadline(lambda: log_there(directory))  # noqa: B023 - used at once
        assert victim.read_bytes() == SECRET, f"{plant.__name__} at {name}: written through"
        assert [path.name for path in victim.parent.iterdir()] == ["victim"], f"{plant.__name__} at {name}"
        entry.attempts += 1
        entry.accepted += stats.get("rows_logged", 0)
        if refusal is None:
            # Rotated shards are renamed and read, never written.
            assert name.endswith(".1"), f"{plant.__name__} at {name}: no error"
            accounted = stats["rows_written"] + stats["rows_waiting"] + stats["rows_dropped"]
            assert accounted == stats["rows_logged"] > 0, f"{plant.__name__} at {name}: {stats}"
            assert lines == stats["rows_written"], f"{plant.__name__} at {name}: {stats}"
        else:
            assert name.rpartition("/")[2] in refusal, refusal
            assert "\n" not in refusal
            if not name.endswith("guard"):
                assert picture(directory / name) == before, f"{plant.__name__} at {name}: changed"
    ledger.enter(entry)


def test_run_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ledger: Ledger) -> None:
    entry = Entry("hostile names of runs")
    inside = tmp_path / "a" / "b" / "c"
    inside.mkdir(parents=True)
    monkeypatch.chdir(inside)
    for name in RUN_NAMES:
        entry.attempts += 1
        refusal = ""
        try:
            run = codex_obs.init(name=name)
        except codex_obs.CodexObsError as error:
            refusal = str(error)
        if refusal:
            assert "name" in refusal
            assert "\n" not in refusal
        else:
            run.log({"loss": 0.5})
            assert run.close()
            assert run.path.resolve().is_relative_to(inside / "runs")
            assert run.path.parent == inside / "runs"
            entry.accepted += 1
    outside = [path for path in tmp_path.rglob("*") if not path.is_relative_to(inside / "runs") and path.is_file()]
    assert outside == []
    ledger.enter(entry)


def log_there(directory: Path) -> tuple[str | None, dict[str, int], int]:
    """Log to a directory. Gives the error, or the counters and the number of lines in the log."""
    try:
        run = codex_obs.init(directory, max_shard_bytes=2000, backup_count="all", max_block_s=0.1)
    except codex_obs.CodexObsError as error:
        return str(error), {}, 0
    for step in range(40):
        run.log({"loss": step, "payload": [step]}, step=step)
    run.close(timeout=2)
    logs = [path for path in directory.glob("metrics.ndjson*") if path.is_file() and not path.is_symlink()]
    return None, run.stats(), sum(path.read_bytes().count(b"\n") for path in logs if path.read_bytes() != SECRET)


def within_deadline(
    action: Callable[[], tuple[str | None, dict[str, int], int]],
) -> tuple[str | None, dict[str, int], int]:
    """Run something that must not wait for the other end of a FIFO."""
    outcome: list[tuple[str | None, dict[str, int], int]] = []
    thread = threading.Thread(target=lambda: outcome.append(action()), daemon=True)
    thread.start()
    thread.join(DEADLINE_S)
    assert outcome, "it hangs or raised what it must not raise"
    return outcome[0]


def picture(path: Path) -> tuple[int, int, int]:
    facts = path.lstat()
    return facts.st_ino, facts.st_mode, facts.st_size
