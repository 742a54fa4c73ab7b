"""System calls that fail, or kill their caller, at the K-th time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_FILES = ("metrics", "metrics_manifest", "params", "tracking_summary", "run")
_INTERNALS = ("journal-main", "lock-main", "guard")


def require() -> None:
    """Skip the test where there is no strace that may trace."""
    if shutil.which("strace") is None:
        pytest.skip("needs strace")
    done = subprocess.run(["strace", "-f", "-qq", "-o", "/dev/null", sys.executable, "-c", ""], check=False)
    if done.returncode != 0:
        pytest.skip("strace may not trace here")


def names_in(directory: Path, shards: int = 12) -> list[str]:
    """Every name in a run directory that the engine opens for the main stream."""
    files = [f"{file}.ndjson" for file in _FILES]
    rotated = [f"{file}.ndjson.{number}" for file in _FILES[:2] for number in range(1, shards)]
    internals = [f".codex_obs/{name}" for name in _INTERNALS]
    return [
        str(directory),
        *(str(directory / name) for name in ["run.json", ".codex_obs", *files, *rotated, *internals]),
    ]


def names_of_packing(directory: Path, archives: int = 60, shards: int = 5) -> list[str]:
    """Every name that nobody but a packer of the metrics uses, and that of its note."""
    log = "metrics.ndjson"
    names = [
        f"{log}.archive-new",
        *(f"{log}.{number}.zst" for number in range(1, shards)),
        *(f"{log}.archive-{ordinal:06}.zst" for ordinal in range(1, archives)),
    ]
    # Of an open file the whole path is known; a name that is looked up in the open folder stands by itself.
    return ["pack-main", f"{directory}/.codex_obs/pack-main", *names, *(str(directory / name) for name in names)]


def tracing(
    directory: Path, log: Path, calls: str, *more: str, names: Callable[[Path], list[str]] = names_in
) -> tuple[str, ...]:
    """Give the command that runs another one and notes its system calls on a run's files."""
    paths = [argument for name in names(directory) for argument in ("-P", name)]
    options = [argument for option in (f"trace={calls}", *more) for argument in ("-e", option)]
    # With a filter in the kernel a signal is not sent.
    faster = [] if any("signal=" in option for option in more) else ["--seccomp-bpf"]
    return ("strace", "-f", "-qq", *faster, "-o", str(log), *options, *paths)


def injecting(
    directory: Path, log: Path, calls: str, what: str, names: Callable[[Path], list[str]] = names_in
) -> tuple[str, ...]:
    """Give the command that runs another one so that some of its system calls on a run's files go wrong.

    Calls are counted by thread.
    """
    return tracing(directory, log, calls, f"inject={calls}:{what}", names=names)


def injected(log: Path) -> int:
    """Count the calls that failed."""
    return log.read_text(errors="replace").count("(INJECTED)")


def most_calls(log: Path) -> int:
    """Return the number of calls of the thread that made most of them."""
    threads = Counter(line.split(maxsplit=1)[0] for line in log.read_text(errors="replace").splitlines() if "(" in line)
    return max(threads.values(), default=0)


def spread(last: int, number: int) -> list[int]:
    """Choose `number` of the first to the last call, evenly, both ends included."""
    if number >= last:
        return list(range(1, last + 1))
    return sorted({1 + round(index * (last - 1) / max(number - 1, 1)) for index in range(number)})
