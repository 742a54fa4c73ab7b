"""The CPythons of this machine, each with the one extension that was built."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import codex_obs

# The minor versions that the package names; a free-threaded build loads no extension of the stable ABI.
SUPPORTED = (11, 12, 13, 14)
_TELL = "import sys, codex_obs; print(sys.version_info[1], sys.version.split()[0], codex_obs.__file__)"


@dataclass(frozen=True)
class Interpreter:
    """A CPython that can run the programs."""

    minor: int
    version: str
    path: str

    @property
    def own_packages(self) -> bool:
        """Say whether the package is installed for it."""
        return self.path == sys.executable


def package_root() -> Path:
    """Give the folder in which the package lies."""
    return Path(codex_obs.__file__).parents[1]


@functools.cache
def present() -> tuple[Interpreter, ...]:
    """Give one interpreter of every supported version that can load the package, the one that runs the tests first."""
    here = Interpreter(sys.version_info[1], sys.version.split()[0], sys.executable)
    others = (next(filter(None, map(_ask, _candidates(minor))), None) for minor in SUPPORTED if minor != here.minor)
    return here, *filter(None, others)


def absent() -> list[str]:
    """Name the supported versions that are not here."""
    found = {interpreter.minor for interpreter in present()}
    return [f"3.{minor}" for minor in SUPPORTED if minor not in found]


def _candidates(minor: int) -> list[str]:
    """Find programs that may be this version: on the PATH, and where pyenv keeps them behind its shims."""
    named = shutil.which(f"python3.{minor}")
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"), "versions")
    kept = sorted(map(str, pyenv.glob(f"3.{minor}.*/bin/python3.{minor}")), reverse=True)
    return [*filter(None, [named]), *kept]


def _ask(path: str) -> Interpreter | None:
    """Ask a program which version it is, or None if it cannot load the package."""
    environment = {**os.environ, "PYTHONPATH": str(package_root())}
    done = subprocess.run([path, "-c", _TELL], env=environment, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        return None
    minor, version, _ = done.stdout.split(maxsplit=2)
    return Interpreter(int(minor), version, path)
