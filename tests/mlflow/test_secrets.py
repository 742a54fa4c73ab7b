"""A secret in any slot reaches the server that it is for, and nothing else: no file, no output, no exception."""

from __future__ import annotations

import base64
import json
import subprocess
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from rig.proxy import Misbehaviour, Proxy
from rig.stub import Stub
from rig.trainer import COMMAND, environment, report_of, start, sync
from rig.transport_faults import no_http

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from rig.proxy import Exchange
    from rig.server import Server

pytestmark = pytest.mark.mlflow
CANARY = "kanarienvogel-5f3a"
USER = "anna-7c1d"
SLOTS = {
    "token": {"MLFLOW_TRACKING_TOKEN": CANARY},
    "user and password": {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": CANARY},
    "address": {"CODEX_OBS_MLFLOW_TRACKING_URI": f"http://{USER}:{CANARY}@127.0.0.1:PORT"},
    "address, quoted": {"CODEX_OBS_MLFLOW_TRACKING_URI": f"http://{USER}:{CANARY}%40x@127.0.0.1:PORT/"},
    "address, without a user": {"CODEX_OBS_MLFLOW_TRACKING_URI": f"http://:{CANARY}@127.0.0.1:PORT"},
}


def echo(status: int) -> Callable[[Exchange], None]:
    """Refuse with the request's own headers and body in the words of the refusal."""

    def handler(exchange: Exchange) -> None:
        exchange.body()
        exchange.answer(status, exchange.request.head, x_echo=exchange.request.header("authorization") or "")

    return handler


def echo_in_other_spellings(exchange: Exchange) -> None:
    """Refuse with the credentials as a log or a page would spell them, and with characters that turn a line round."""
    exchange.body()
    value = exchange.request.header("authorization") or ""
    told = [value, decoded(value)]
    spelled = [
        form
        for text in told
        for form in (
            quote(text, safe=""),
            "".join(f"%{byte:02x}" for byte in text.encode()),
            text.encode().hex(),
            "".join(f"\\u{ord(letter):04x}" for letter in text),
            "".join(f"&#{ord(letter)};" for letter in text),
        )
    ]
    exchange.answer(400, json.dumps({"error_code": "X", "message": "\u202e".join(spelled)}).encode())


def redirect(exchange: Exchange) -> None:
    secret = exchange.request.header("authorization") or ""
    location = f"http://{USER}:{CANARY}@localhost:{exchange.proxy.port_of_the_stranger}/{secret}"
    exchange.answer(302, b"", location=location)


BEHAVIOURS = {
    "well": Misbehaviour(),
    "401 with an echo": Misbehaviour(echo(401)),
    "400 with an echo": Misbehaviour(echo(400)),
    "500 with an echo": Misbehaviour(echo(500)),
    "400 with other spellings": Misbehaviour(echo_in_other_spellings),
    "no HTTP": Misbehaviour(no_http),
    "a redirect": Misbehaviour(redirect),
    "refused": Misbehaviour(start="refusing"),
}

FOR_ALL = ("well", "400 with an echo", "400 with other spellings")


def forms(secret: str) -> list[bytes]:
    """Give the secret in every form in which it might be written down."""
    pairs = [secret, f"{USER}:{secret}", f":{secret}", f"{USER}:{secret}@x"]
    spelled = [
        "".join(f"%{byte:02x}" for byte in secret.encode()),
        secret.encode().hex(),
        "".join(f"u{ord(letter):04x}" for letter in secret[:8]),
        "".join(f"&#{ord(letter)};" for letter in secret),
    ]
    return [
        secret.encode(),
        *(form.encode() for form in spelled),
        *(base64.b64encode(pair.encode()).rstrip(b"=") for pair in pairs),
    ]


def require_no_trace(directory: Path, words: str) -> None:
    everything = {"the output": words.encode()}
    everything |= {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    assert len(everything) > 1 or not directory.exists()
    found = {place: form for place, content in everything.items() for form in forms(CANARY) if form in content}
    assert found == {}
    assert "\u202e" not in words


def run_canary(directory: Path, **variables: str) -> str:
    process = start("canary", {"directory": str(directory)}, **variables)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return output + errors


# Every slot where all is well and where a server repeats what it was told, and every behaviour with a token.
PAIRS = [(slot, behaviour) for slot in SLOTS for behaviour in BEHAVIOURS if slot == "token" or behaviour in FOR_ALL]


@pytest.mark.parametrize(("slot", "behaviour"), PAIRS)
def test_a_secret_leaves_no_trace(slot: str, behaviour: str, server: Server, run_dir: Path) -> None:
    with Stub() as stranger, Proxy(server.port, BEHAVIOURS[behaviour]) as proxy:
        proxy.port_of_the_stranger = stranger.port
        variables = {"CODEX_OBS_MLFLOW_TRACKING_URI": proxy.uri} | SLOTS[slot]
        variables = {name: value.replace("PORT", str(proxy.port)) for name, value in variables.items()}
        words = run_canary(run_dir, **variables)
        sent = [request.header("authorization") or "" for request in proxy.requests]
        uri = variables.pop("CODEX_OBS_MLFLOW_TRACKING_URI")
        proxy.heal()
        # The command's own arguments are the user's, so the address comes by the environment here too.
        words += sync(run_dir, "--to", "mlflow", **variables, MLFLOW_TRACKING_URI=uri)
        assert stranger.requests == []
    require_no_trace(run_dir, words)
    if behaviour != "refused":
        assert sent
        assert all(CANARY in decoded(value) for value in sent)


def decoded(value: str) -> str:
    kind, _, content = value.partition(" ")
    return base64.b64decode(content).decode() if kind == "Basic" else content


BROKEN = [
    f"http://{USER}:{CANARY}@127.0.0.1:no-port",
    f"http://{USER}:{CANARY}@",
    f"ftp://{USER}:{CANARY}@127.0.0.1:80",
    f"{USER}:{CANARY}@127.0.0.1:80",
    f"http://{USER}:{CANARY}@[::1",
    f"http://{USER}:{CANARY}\n@127.0.0.1:80",
    f"file://{USER}:{CANARY}@x/mlruns",
    f"http://127.0.0.1:80/?key={CANARY}",
]


@pytest.mark.parametrize("uri", BROKEN)
def test_an_address_that_cannot_be_used_is_not_repeated(uri: str, run_dir: Path) -> None:
    words = run_canary(run_dir, CODEX_OBS_MLFLOW_TRACKING_URI=uri)
    assert CANARY not in words
    command = [*COMMAND, "sync", str(run_dir), "--to", "mlflow"]
    done = subprocess.run(
        command, env=environment(MLFLOW_TRACKING_URI=uri), capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode != 0
    assert CANARY not in done.stdout + done.stderr


def test_a_proxy_s_password_leaves_no_trace(run_dir: Path) -> None:
    with Stub() as other:
        address = f"http://{USER}:{CANARY}@127.0.0.1:{other.port}"
        uri = "http://mlflow.invalid:5000"
        words = run_canary(run_dir, CODEX_OBS_MLFLOW_TRACKING_URI=uri, HTTP_PROXY=address, http_proxy=address)
    require_no_trace(run_dir, words)


@pytest.mark.parametrize("content", ["no certificate", "a key cut short", "no such file"])
def test_the_content_of_a_client_certificate_leaves_no_trace(content: str, server: Server, tmp_path: Path) -> None:
    path, run_dir = tmp_path / "client.pem", tmp_path / "run"
    if content == "no certificate":
        path.write_text(f"{CANARY}\n")
    elif content == "a key cut short":
        path.write_text(f"-----BEGIN PRIVATE KEY-----\n{CANARY.replace('-', '')}\n-----END PRIVATE KEY-----\n")
    words = run_canary(
        run_dir,
        CODEX_OBS_MLFLOW_TRACKING_URI=f"https://127.0.0.1:{server.port}",
        MLFLOW_TRACKING_CLIENT_CERT_PATH=str(path),
    )
    assert CANARY not in words
    assert CANARY.replace("-", "") not in words
    if run_dir.exists():
        require_no_trace(run_dir, words)


def test_what_a_training_loop_says_of_itself_has_no_address_with_a_password(server: Server, run_dir: Path) -> None:
    told = {"directory": str(run_dir), "metrics": ["loss"], "level": "DEBUG", "close_s": 20.0}
    uri = f"http://{USER}:{CANARY}@127.0.0.1:{server.port}"
    report = report_of(start("trainer", told, CODEX_OBS_MLFLOW_TRACKING_URI=uri, RUST_LOG="trace"))
    assert report["stats"]["metrics_exported"] == 10
    require_no_trace(run_dir, str(report))
