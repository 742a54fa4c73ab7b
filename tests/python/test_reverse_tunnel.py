"""The runbook for a server behind a reverse SSH tunnel, as far as one machine allows: a real sshd on loopback."""

from __future__ import annotations

import getpass
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

import codex_obs

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import TracebackType

SSHD = shutil.which("sshd", path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"]))
COMMAND = [sys.executable, "-c", "from codex_obs.cli import main; main()"]
RUNBOOK = Path(__file__).parents[2] / "docs/pages/reverse-tunnel.md"

pytestmark = pytest.mark.skipif(
    SSHD is None or not shutil.which("ssh") or not shutil.which("curl"),
    reason="needs sshd, ssh and curl: apt-get install openssh-server openssh-client curl",
)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


class TrainingMachine:
    """An sshd of its own on loopback, with a key for us."""

    def __init__(self, folder: Path) -> None:
        for name in ("host", "user"):
            key = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
            subprocess.run(key, check=True, timeout=60)
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.port = free_port()
        self.key = folder / "user"
        options = {
            "ListenAddress": f"127.0.0.1:{self.port}",
            "HostKey": folder / "host",
            "AuthorizedKeysFile": folder / "user.pub",
            "PidFile": "none",
            "StrictModes": "no",
            "UsePAM": "no",
            "PasswordAuthentication": "no",
        }
        arguments = [f"-o{name}={value}" for name, value in options.items()]
        self._process = subprocess.Popen(
            [str(SSHD), "-f", os.devnull, "-D", "-e", *arguments], stderr=subprocess.PIPE, text=True
        )
        assert self._process.stderr is not None
        heard = []
        for line in self._process.stderr:
            heard.append(line)
            if "listening" in line:
                return
        pytest.fail("".join(heard))

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=60)


class Tunnel:
    """The reverse tunnel of the runbook, while a `with` lasts."""

    def __init__(self, machine: TrainingMachine, port: int, server_port: int) -> None:
        self._command = [
            "ssh", "-F", os.devnull, "-i", str(machine.key), "-p", str(machine.port),
            "-oUserKnownHostsFile=/dev/null", "-oStrictHostKeyChecking=no", "-oBatchMode=yes", "-oIdentitiesOnly=yes",
            "-oExitOnForwardFailure=yes", "-oServerAliveInterval=15", "-oServerAliveCountMax=3",
            "-R", f"127.0.0.1:{port}:127.0.0.1:{server_port}", f"{getpass.getuser()}@127.0.0.1",
        ]  # fmt: skip
        self._process: subprocess.Popen[str] | None = None

    def attempt(self) -> subprocess.CompletedProcess[str]:
        """Give what comes of an attempt that must fail."""
        return subprocess.run([*self._command, "-N"], capture_output=True, text=True, check=False, timeout=60)

    def __enter__(self) -> Self:
        # A command in the place of -N: it begins once the port is forwarded.
        process = subprocess.Popen(
            [*self._command, "echo ready; exec cat"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._process = process
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            pytest.fail(process.communicate(timeout=60)[1])
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate(timeout=60)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrainingMachine]:
    """Give the training machine, which is this one."""
    machine = TrainingMachine(tmp_path_factory.mktemp("sshd"))
    yield machine
    machine.stop()


def probe(port: int) -> int:
    """Give the exit code of the runbook's own probe."""
    commands = set(re.findall(r"`(curl [^`]+/health)`", RUNBOOK.read_text()))
    (command,) = commands
    assert "127.0.0.1:5000" in command
    words = command.replace("5000", str(port)).split()
    environment = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    return subprocess.run(words, env=environment, capture_output=True, check=False, timeout=60).returncode


def documented(symptom: str) -> set[int]:
    """Give the exit codes that the diagnosis table has for a symptom."""
    match = re.search(rf"exit code ([0-9 or]+), {symptom}", RUNBOOK.read_text())
    assert match is not None
    return {int(code) for code in match[1].split(" or ")}


def test_metrics_come_home_through_the_tunnel(machine: TrainingMachine, tracking: Any, run_dir: Path) -> None:
    port = free_port()
    with Tunnel(machine, port, tracking.server_port):
        assert probe(port) == 0
        with codex_obs.init(run_dir, mlflow_tracking_uri=f"http://127.0.0.1:{port}") as run:
            run.log({"loss": 0.5}, step=1)
    assert tracking.points() == [("train/loss", 0.5, 1)]
    assert [run["info"]["status"] for run in tracking.runs.values()] == ["FINISHED"]


def test_what_is_logged_while_the_tunnel_is_away_is_delivered_afterwards(
    machine: TrainingMachine, tracking: Any, run_dir: Path
) -> None:
    port = free_port()
    uri = f"http://127.0.0.1:{port}"
    run = codex_obs.init(run_dir, mlflow_tracking_uri=uri, export_interval_s=0.0)
    with Tunnel(machine, port, tracking.server_port):
        run.log({"loss": 0.5}, step=1)
        # It may have met the closed port before.
        tracking.wait(tracking.points)
    run.log({"loss": 0.25}, step=2)
    assert run.close(2.0)
    assert tracking.points() == [("train/loss", 0.5, 1)]
    with Tunnel(machine, port, tracking.server_port):
        done = subprocess.run(
            [*COMMAND, "sync", str(run_dir), "--to", "mlflow", "--uri", uri],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    assert (done.returncode, done.stderr) == (0, "")
    assert tracking.points() == [("train/loss", 0.5, 1), ("train/loss", 0.25, 2)]


def test_without_a_tunnel_the_probe_says_what_the_table_says() -> None:
    assert probe(free_port()) in documented("connection refused")


def test_a_tunnel_without_a_server_says_what_the_table_says(machine: TrainingMachine) -> None:
    port = free_port()
    with Tunnel(machine, port, free_port()):
        assert probe(port) in documented("empty reply")


def test_a_half_dead_tunnel_says_what_the_table_says() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert probe(silent.getsockname()[1]) in documented("timeout")


def test_a_port_that_is_taken_ends_ssh_with_the_words_of_the_table(machine: TrainingMachine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = Tunnel(machine, port, free_port()).attempt()
    assert done.returncode == 255
    assert f"remote port forwarding failed for listen port {port}" in done.stderr
    assert "remote port forwarding failed for listen port 5000" in RUNBOOK.read_text()
