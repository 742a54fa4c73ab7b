"""Writers that cannot see each other on one volume, and run directories that travel."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from faults.judge import judge
from faults.ledger import Entry
from faults.mounts import require
from faults.patience import communicate

if TYPE_CHECKING:
    from conftest import Programs, Scale
    from faults.ledger import Ledger

CALLS = 200
RANKS = 64
DEADLINE_S = 120.0
CONTAINER = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def test_pid_namespaces(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """Both containers have a process 1: neither takes the other for dead."""
    require("unshare")
    entry = Entry("two containers on one volume (PID namespaces)")
    for round_ in range(scale.times(20)):
        entry.attempts += 1
        occupy(tmp_path / f"run-{round_}", programs, 2, entry, before=CONTAINER)
    ledger.enter(entry)


def test_many_processes_of_one_rank(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry(f"{RANKS} processes of one rank at once")
    for round_ in range(scale.times(5)):
        entry.attempts += 1
        occupy(tmp_path / f"run-{round_}", programs, RANKS, entry)
    ledger.enter(entry)


def occupy(directory: Path, programs: Programs, tenants: int, entry: Entry, *, before: tuple[str, ...] = ()) -> None:
    processes = [programs.start("tenant", directory, number, CALLS, before=before) for number in range(tenants)]
    streams = []
    for process in processes:
        assert process.stdout is not None
        greeting = process.stdout.readline().split()
        assert greeting, process.communicate()[1]
        streams.append(greeting[0])
    assert len(set(streams)) == tenants, f"a stream has two writers: {sorted(streams)}"
    assert "main" in streams
    # A reader looks while all of them live: nothing of theirs is cut or taken.
    seen = codex_obs.read(directory).height
    assert seen <= tenants * CALLS
    for process in processes:
        _, errors = communicate(process, DEADLINE_S, line="\n")
        assert process.returncode == 0, errors
    expected = pl.concat(
        [
            pl.DataFrame({"metric": [f"tenant{number}"]}).join(pl.DataFrame({"step": range(2 * CALLS)}), how="cross")
            for number in range(tenants)
        ]
    )
    judgement = judge(directory, expected)
    entry.accepted += judgement.accepted
    entry.lost += judgement.lost
    entry.doubled += judgement.doubled
    entry.torn += judgement.torn + judgement.damage["tails"]
    judgement.require_perfect()
    assert judgement.unasked == 0


def test_foreign_machine(tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    """A directory copied while its writer lived, or died, is looked at on another machine: another id, another boot."""
    require("unshare", "mount")
    if not Path("/etc/machine-id").exists():
        pytest.skip("needs /etc/machine-id")
    entry = Entry("a run directory copied to another machine")
    directory, copy = tmp_path / "run", tmp_path / "copy"
    process = programs.start("dier", directory, CALLS)
    communicate(process, DEADLINE_S)
    shutil.copytree(directory, copy)
    journal = copy / ".codex_obs" / "journal-main"
    before = journal.read_bytes()
    other, boot = tmp_path / "machine-id", tmp_path / "boot_id"
    other.write_text("0123456789abcdef0123456789abcdef\n")
    boot.write_text("01234567-89ab-4def-8123-456789abcdef\n")
    mounts = f"mount --bind {other} /etc/machine-id && mount --bind {boot} /proc/sys/kernel/random/boot_id"
    script = f'{mounts} && exec "$@"'
    elsewhere = ("unshare", "--mount", "sh", "-c", script, "sh")
    tenant = programs.start("tenant", copy, 0, CALLS, before=elsewhere)
    output, errors = communicate(tenant, DEADLINE_S, line="\n")
    assert tenant.returncode == 0, errors
    stream, _ = output.split()
    assert stream.startswith("pid-"), "it took the stream of another machine"
    assert journal.read_bytes() == before, "it touched the journal of another machine"
    # Asked for by name, the rows come back, once.
    metrics = ("a", "b", "c")
    recover = f"import codex_obs, sys; print(codex_obs._backend.recover({str(copy)!r}, foreign=True))"
    done = subprocess.run([*elsewhere, sys.executable, "-c", recover], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = pl.concat(
        [
            *(
                pl.DataFrame({"metric": [metric]}).join(pl.DataFrame({"step": range(CALLS)}), how="cross")
                for metric in metrics
            ),
            pl.DataFrame({"metric": ["tenant0"]}).join(pl.DataFrame({"step": range(2 * CALLS)}), how="cross"),
        ]
    )
    judgement = judge(copy, expected)
    entry.attempts = 1
    entry.accepted = judgement.accepted
    entry.lost = judgement.lost
    entry.doubled = judgement.doubled
    entry.torn = judgement.torn
    judgement.require_perfect()
    ledger.enter(entry)
