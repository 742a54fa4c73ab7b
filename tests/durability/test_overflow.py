"""More rows than the writer can write."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, TypedDict

import polars as pl
import pytest

from faults import strace
from faults.judge import judge, lines_of, losses_on_record
from faults.ledger import Entry
from faults.patience import communicate
from faults.tally import Tally

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import Programs, Scale
    from faults.ledger import Ledger

THREADS = 4
CALLS = 40_000
RING_BYTES = 1 << 20
DEFAULT_RING_BYTES = 8 << 20
# Microseconds that every write takes: about a tenth of the speed at which four threads log.
SLOW_WRITE_US = 60_000
SLOW_SYNC_US = 3_000_000
# Later than any call.
NO_FAULT = "error=EIO:when=60000"
# As long as a value may be without being cut, with its quotes.
TEXT_BYTES = 900_000
ALLOWED_BYTES = RING_BYTES + (16 << 20)
DEADLINE_S = 300.0


class Told(TypedDict):
    closed: bool
    stats: dict[str, int]
    grew: int


NOTHING = pl.DataFrame(schema={"metric": pl.String, "step": pl.Int64})


@pytest.mark.parametrize("overflow", ["block", "drop"])
def test_ring_overflow(overflow: str, tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    entry = Entry(f"ring overflow by a slowed writer, `overflow={overflow}`")
    options = {"threads": THREADS, "calls": scale.times(CALLS, least=10_000), "overflow": overflow}
    slow = f"delay_enter={SLOW_WRITE_US}"
    told = flood(tmp_path, programs, options, entry, calls="write", what=slow)
    dropped = told["stats"]["rows_dropped_full"]
    entry.note = f"{dropped:,} rows dropped and counted, memory grew by {told['grew'] / 2**20:.1f} MiB"
    if overflow == "block":
        assert dropped == 0, "the writer made progress all the time"
    else:
        assert dropped > 0, "there was no overflow"
    assert told["grew"] < ALLOWED_BYTES
    ledger.enter(entry)


def test_slow_sync(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """A disk whose sync takes seconds holds up neither the writer nor anyone who logs."""
    entry = Entry("every fsync takes 3 s")
    options = {"threads": THREADS, "calls": scale.times(CALLS, least=10_000), "fsync": "always", "max_block_s": 0.2}
    told = flood(tmp_path, programs, options, entry, calls="fsync,fdatasync", what=f"delay_enter={SLOW_SYNC_US}")
    assert told["stats"]["rows_dropped"] == 0
    ledger.enter(entry)


def test_call_larger_than_the_ring(tmp_path: Path, programs: Programs, ledger: Ledger) -> None:
    entry = Entry("a call larger than the ring")
    options: dict[str, object] = {"threads": THREADS, "calls": 100, "huge": 60_000}
    told = flood(tmp_path, programs, options, entry, calls="rename", what=NO_FAULT)
    assert told["stats"]["rows_dropped"] == 0
    assert told["stats"]["rows_logged"] == 1 + THREADS * (100 * 3 + 60_000)
    ledger.enter(entry)


def test_value_larger_than_the_ring(tmp_path: Path, programs: Programs, scale: Scale, ledger: Ledger) -> None:
    """The default ring has room for every value; in a small one a value may be dropped, by a cause of its own."""
    entry = Entry("a value larger than the ring")
    texts = scale.times(100, least=10)
    options: dict[str, object] = {"threads": 1, "calls": 100, "text": TEXT_BYTES, "texts": texts}
    told = flood(tmp_path, programs, options | {"ring_bytes": TEXT_BYTES // 3}, entry, calls="rename", what=NO_FAULT)
    assert told["stats"]["rows_logged"] == 1 + 100 * 3 + texts
    assert told["stats"]["rows_dropped"] == told["stats"]["rows_dropped_oversize"] == texts
    entry.note = f"{texts:,} rows dropped and counted as too large; none with the default ring"
    (tmp_path / "default").mkdir()
    told = flood(
        tmp_path / "default",
        programs,
        options | {"ring_bytes": DEFAULT_RING_BYTES},
        entry,
        calls="rename",
        what=NO_FAULT,
    )
    assert told["stats"]["rows_dropped"] == 0
    payloads = [
        json.loads(line)["descriptor"]["payload"]
        for path in (tmp_path / "default" / "run").glob("metrics_manifest.ndjson*")
        for line in path.read_text().splitlines()
    ]
    assert [len(payload) for payload in payloads] == [TEXT_BYTES] * texts
    ledger.enter(entry)


def flood(
    scratch: Path, programs: Programs, options: dict[str, object], entry: Entry, *, calls: str, what: str
) -> Told:
    strace.require()
    directory, tally = scratch / "run", Tally(scratch / "tally")
    arguments = json.dumps({"ring_bytes": RING_BYTES, **options})
    before = strace.injecting(directory, scratch / "log", calls, what)
    program = programs.start("flood", directory, tally.path, arguments, before=before)
    output, errors = communicate(program, DEADLINE_S)
    assert program.returncode == 0, errors
    told: Told = json.loads(output)
    stats = told["stats"]
    judgement = judge(directory, NOTHING)
    entry.attempts = 1
    entry.accepted = stats["rows_logged"]
    entry.lost = abs(stats["rows_logged"] - stats["rows_dropped"] - judgement.found)
    entry.doubled = judgement.doubled
    entry.torn = judgement.torn + judgement.damage["tails"]
    entry.longest_log_s = tally.longest_log_s()
    assert (entry.lost, entry.torn) == (0, 0), f"{stats} {judgement} {lines_of(directory)}"
    assert stats["rows_logged"] == stats["rows_written"] + stats["rows_dropped"] + stats["rows_waiting"]
    assert losses_on_record(directory) == stats["rows_dropped"]
    assert told["closed"]
    return told
