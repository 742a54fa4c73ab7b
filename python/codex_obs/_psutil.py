"""What is said where the machine cannot be sampled in full."""

from __future__ import annotations

import importlib.util
import sys
from itertools import count
from typing import Final

REMEDY: Final = "pip install 'codex-obs[system]'"
# One for each process: drawing from it is one step, whichever threads do.
_said = count()


def announce_missing() -> None:
    """Say once on standard error that psutil is not installed, if so."""
    if importlib.util.find_spec("psutil") is None and not next(_said) and sys.stderr is not None:
        sys.stderr.write(
            "[monitoring-error] psutil is not installed: samples of the machine have no processor, memory, disk, "
            f"network and processes. {REMEDY}\n"
        )
