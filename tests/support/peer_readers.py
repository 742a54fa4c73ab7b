"""TensorBoard and W&B themselves, from an environment of their own, as readers of what was written for them."""

from __future__ import annotations

import json
import os
import subprocess
import time
import urllib.parse
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Self

PROGRAMS = Path(__file__).parents[1] / "destinations" / "programs"
PEERS = Path(__file__).parents[2] / ".venv-peers" / "bin"
DEADLINE_S = 120.0
# So many are shown of a series. With 0, which keeps all, the server answers with none.
_SHOWN = 10_000_000

needs_peers = pytest.mark.skipif(
    not all((PEERS / name).exists() for name in ("tensorboard", "wandb")),
    reason="TensorBoard and W&B are not installed: make peers",
)
needs_wandb = pytest.mark.skipif(not (PEERS / "wandb").exists(), reason="W&B is not installed: make peers")


def read(program: str, path: Path) -> Any:
    """What a program of theirs finds at a path."""
    done = subprocess.run(
        [PEERS / "python", PROGRAMS / program, path], capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@contextmanager
def served(folder: Path, loader: str) -> Iterator[Callable[[str, int], list[list[float]]]]:
    """Run TensorBoard's server, and give a function that asks it for so many points of a series."""
    command = [str(PEERS / "tensorboard"), "--logdir", str(folder), "--port", "0", "--host", "127.0.0.1"]
    command += [f"--load_fast={loader}", "--samples_per_plugin", f"scalars={_SHOWN}", "--reload_interval", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as server:
        try:
            address = _address(server)

            def scalars(tag: str, count: int) -> list[list[float]]:
                deadline = time.monotonic() + DEADLINE_S
                points: list[list[float]] = []
                while time.monotonic() < deadline:
                    if tag in _ask(f"{address}data/plugin/scalars/tags").get(".", {}):
                        quoted = urllib.parse.quote(tag)
                        points = _ask(f"{address}data/plugin/scalars/scalars?run=.&tag={quoted}")
                        if len(points) >= count:
                            return points
                    time.sleep(0.2)
                raise AssertionError((tag, len(points)))

            yield scalars
        finally:
            server.terminate()


def _address(server: subprocess.Popen[str]) -> str:
    assert server.stderr is not None
    for line in server.stderr:
        start = line.find("http://")
        if start >= 0:
            return line[start:].split()[0]
    raise AssertionError("the server did not start")


def _ask(address: str) -> Any:
    with urllib.request.urlopen(address, timeout=DEADLINE_S) as answer:
        return json.loads(answer.read())


def wandb_environment(home: Path, port: int | None) -> dict[str, str]:
    """The environment in which W&B's client knows the stand-in at a port, and nothing of the user."""
    own = {"WANDB_ERROR_REPORTING": "false", "HOME": str(home)}
    if port is not None:
        own |= {"WANDB_BASE_URL": f"http://127.0.0.1:{port}", "WANDB_API_KEY": "0" * 40}
    return os.environ | own


def wandb(*arguments: str | Path, home: Path, port: int | None = None) -> subprocess.Popen[str]:
    """Start W&B's own command; with a port it knows the stand-in for the server there."""
    return subprocess.Popen(
        [PEERS / "wandb", *arguments],
        env=wandb_environment(home, port),
        cwd=home,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


class StandIn:
    """The stand-in for W&B's server: a context manager that ends with what arrived."""

    def __init__(self, folder: Path) -> None:
        self.port = 0
        self._folder = folder
        self._file = folder / "uploaded.json"

    def __enter__(self) -> Self:
        command = [PEERS / "python", PROGRAMS / "wandb_stand_in.py", self._file]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._server.stdout is not None
        self.port = int(self._server.stdout.readline())
        return self

    def upload(self, path: Path) -> None:
        """Upload a folder by `wandb sync`."""
        with wandb("sync", path, home=self._folder, port=self.port) as client:
            _, words = client.communicate(timeout=DEADLINE_S)
        assert client.returncode == 0, words
        assert list(path.glob("*.synced")), words

    def control(self, word: str) -> dict[str, int]:
        """Tell the server ``away`` or ``back``, or nothing new; gives how many lines of history each run has."""
        found: dict[str, int] = _ask(f"http://127.0.0.1:{self.port}/control/{word}")
        return found

    def has_begun(self) -> bool:
        """Whether a run was named."""
        return self._file.with_name(f"{self._file.name}.begun").exists()

    def arrived(self) -> Any:
        """What arrived, once the server has ended."""
        return json.loads(self._file.read_text())

    def lines(self, run: str, kind: str = "history") -> list[dict[str, Any]]:
        """The lines of a run's history, or of its events, in order."""
        lines = self.arrived()[kind].get(run, {}).items()
        return [json.loads(line) for _, line in sorted(lines, key=lambda item: int(item[0]))]

    def __exit__(self, *_: object) -> None:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.close()
        self._server.wait(timeout=DEADLINE_S)
        self._server.stdout.close()
