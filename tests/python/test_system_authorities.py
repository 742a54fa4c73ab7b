"""A server whose certificate the system's list of authorities vouches for is trusted without a setting."""

from __future__ import annotations

import shutil
import ssl
import subprocess
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from command import start

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


def openssl(*arguments: str, folder: Path) -> str:
    return subprocess.run(
        ["openssl", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=60
    ).stdout.strip()


def certificates(folder: Path) -> ssl.SSLContext:
    """Make an authority in `folder`/system, by the name that OpenSSL looks for, and a server that it vouches for."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    authority = ("-x509", "-days", "2", "-subj", "/CN=tests", "-keyout", "ca.key", "-out", "ca.pem")
    openssl("req", *key, *authority, folder=folder)
    openssl("req", *key, "-subj", "/CN=localhost", "-keyout", "server.key", "-out", "server.csr", folder=folder)
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    signed = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1", "-extfile", "names")
    openssl("x509", "-req", "-in", "server.csr", *signed, "-out", "server.pem", folder=folder)
    number = openssl("x509", "-noout", "-hash", "-in", "ca.pem", folder=folder)
    (folder / "system").mkdir()
    shutil.copy(folder / "ca.pem", folder / "system" / f"{number}.0")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    return context


def test_the_system_s_authorities_are_trusted(tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    context = certificates(tmp_path)
    tracking.socket = context.wrap_socket(tracking.socket, server_side=True)
    path = tmp_path / "run"
    with codex_obs.init(path) as run:
        run.log({"loss": 0.5}, step=1)
    sync = ("sync", path, "--uri", f"https://localhost:{tracking.server_address[1]}", "--patience", "0")
    unknown = start(*sync, cwd=tmp_path)
    assert unknown.returncode == 1
    assert "no trusted connection" in unknown.stderr
    # Where one of these is set, that file is taken instead.
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "")
    monkeypatch.setenv("CURL_CA_BUNDLE", "")
    monkeypatch.setenv("SSL_CERT_FILE", "")
    folder = str(tmp_path / "system")
    known = start(*sync[:-1], "20", cwd=tmp_path, SSL_CERT_DIR=folder)
    assert (known.returncode, known.stderr) == (0, "")
    assert "1 point delivered" in known.stdout
