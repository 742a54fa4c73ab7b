"""A process beside the trainer that cannot be started: one warning, the loop goes on, and `sync` completes the run."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from beside import Place


def not_executable(folder: Path) -> str:
    file = folder / "python"
    file.write_text("#!/bin/sh\n")
    file.chmod(stat.S_IRUSR)
    return str(file)


def ends_at_once(folder: Path) -> str:
    file = folder / "python"
    file.write_text("#!/bin/sh\necho no module named codex_obs >&2\nexit 1\n")
    file.chmod(stat.S_IRWXU)
    return str(file)


@pytest.mark.parametrize("broken", [not_executable, ends_at_once], ids=["not executable", "ends at once"])
def test_one_that_cannot_be_started_is_one_warning_and_sync_completes_the_run(
    place: Place, broken: Callable[[Path], str]
) -> None:
    program = broken(place.folder)
    words = place.train(f"""
sys.executable = {program!r}
run = codex_obs.init(RUN, destinations=["whole"])
slowest = 0
for step in range(500):
    began = time.perf_counter()
    run.log({{"loss": 0.5}}, step=step)
    slowest = max(slowest, time.perf_counter() - began)
log_until(run, lambda: said("cannot be kept running"))
began = time.monotonic()
assert run.close(5)
assert time.monotonic() - began < 5, "nobody is waited for who is not there"
assert slowest < 10
""")
    assert words.count("cannot be kept running") == 1
    assert f"`codex-ndjson sync {place.run} --to whole`" in words
    done = place.sync("whole")
    assert done.returncode == 0, done.stderr
    assert len(place.taken()) == len((place.run / "metrics.ndjson").read_text().splitlines())
    assert place.text("status") == "finished"
