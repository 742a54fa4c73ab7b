"""A PostgreSQL of the tests' own: a new cluster in a folder of its own, reached through a socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from time import monotonic
from typing import Any

_START_S = 60.0
_never = threading.Event()


def programs() -> Path | None:
    """Give the folder of the newest PostgreSQL, as Debian installs it or on the path."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[4].split(".")[0]))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


class Postgres:
    """A server that does not listen on any port. It refuses to run as root, so root starts it as somebody else."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="codex-obs-postgres-"))
        self._process: subprocess.Popen[bytes] | None = None
        self._who: dict[str, Any] = {}
        if os.geteuid() == 0:
            user = next(user for name in ("postgres", "nobody") for user in pwd.getpwall() if user.pw_name == name)
            self._who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}
            os.chown(self._folder, user.pw_uid, user.pw_gid)

    @property
    def uri(self) -> str:
        """What SQLAlchemy calls it."""
        return f"postgresql+psycopg2://tests@/postgres?host={self._folder}"

    def start(self) -> None:
        """Make the cluster and start it."""
        place = programs()
        assert place is not None, "there is no PostgreSQL to start"
        data = self._folder / "data"
        make: list[str | Path] = [
            place / "initdb",
            "-D",
            data,
            "-U",
            "tests",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--locale=C",
            "--no-sync",
        ]
        done = subprocess.run(make, cwd=self._folder, capture_output=True, text=True, check=False, **self._who)
        assert done.returncode == 0, done.stderr
        command: list[str | Path] = [
            place / "postgres",
            "-D",
            data,
            "-k",
            self._folder,
            "-c",
            "listen_addresses=",
            "-c",
            "fsync=off",
        ]
        with (self._folder / "log").open("wb") as log:
            process = subprocess.Popen(command, cwd=self._folder, stdout=log, stderr=log, **self._who)
        self._process = process
        deadline = monotonic() + _START_S
        ready: list[str | Path] = [place / "pg_isready", "-q", "-h", self._folder]
        while subprocess.run(ready, cwd=self._folder, check=False).returncode != 0:
            assert process.poll() is None, (self._folder / "log").read_text()
            assert monotonic() < deadline, f"PostgreSQL did not start within {_START_S:g} s"
            _never.wait(0.05)

    def stop(self) -> None:
        """End it and remove what it wrote."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)
            self._process.wait(60)
        shutil.rmtree(self._folder)
