"""Connections of TLS: who is trusted, who is not, and that certificates of the user's own are used."""

from __future__ import annotations

import datetime as dt
import socket
import ssl
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
import trustme

import codex_obs
from rig.case import run_case
from rig.fault import Fault
from rig.proxy import Misbehaviour, Proxy
from rig.verdict import enter, judge

if TYPE_CHECKING:
    from pathlib import Path

    from rig.proxy import Exchange
    from rig.server import Server
    from rig.table import Table

HOST = "127.0.0.1"
LONG_AGO = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
# What OpenSSL says of a server like that to a client that trusts the first authority.
BAD = {
    "expired": "certificate has expired",
    "not yet valid": "certificate is not yet valid",
    "of another host": "IP address mismatch",
    "of an unknown authority": "unable to get local issuer certificate",
    "plain text": "WRONG_VERSION_NUMBER",
    "cut in the handshake": "EOF",
}


def answer_in_plain_text(exchange: Exchange) -> None:
    exchange.gone(0.1)
    exchange.send(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
    exchange.half_close()


@dataclass(frozen=True)
class Authorities:
    """One that clients are told to trust, and one that nobody knows."""

    trusted: trustme.CA
    unknown: trustme.CA
    trusted_pem: str
    client_pem: str

    def server(self, kind: str = "good") -> ssl.SSLContext:
        """Make what a server identifies itself by."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        now = dt.datetime.now(dt.UTC)
        match kind:
            case "expired":
                leaf = self.trusted.issue_cert(HOST, not_before=LONG_AGO, not_after=LONG_AGO + dt.timedelta(9))
            case "not yet valid":
                days = dt.timedelta(9)
                leaf = self.trusted.issue_cert(HOST, not_before=now + days, not_after=now + 2 * days)
            case "of another host":
                leaf = self.trusted.issue_cert("mlflow.example", "127.0.0.2")
            case "of an unknown authority":
                leaf = self.unknown.issue_cert(HOST)
            case _:
                leaf = self.trusted.issue_cert(HOST)
        leaf.configure_cert(context)
        return context

    def particular_server(self) -> ssl.SSLContext:
        """Make a server that wants a certificate of its clients."""
        context = self.server()
        context.verify_mode = ssl.CERT_REQUIRED
        self.trusted.configure_trust(context)
        return context

    def misbehaviour(self, kind: str) -> Misbehaviour:
        """Make a proxy that is bad in some way and gets well."""
        if kind == "plain text":
            return Misbehaviour(on_connection=answer_in_plain_text, tls=self.server())
        if kind == "cut in the handshake":
            return Misbehaviour(on_connection=lambda exchange: exchange.half_close(), tls=self.server())
        return Misbehaviour(tls=self.server(kind), healed_tls=self.server())


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> Authorities:
    folder = tmp_path_factory.mktemp("authorities")
    trusted = trustme.CA()
    trusted.cert_pem.write_to_path(folder / "trusted.pem")
    trusted.issue_cert("trainer@example.org").private_key_and_cert_chain_pem.write_to_path(folder / "client.pem")
    return Authorities(trusted, trustme.CA(), str(folder / "trusted.pem"), str(folder / "client.pem"))


@pytest.mark.parametrize("kind", BAD)
def test_a_bad_server_is_what_it_says(kind: str, authorities: Authorities) -> None:
    with Proxy(1, authorities.misbehaviour(kind)) as proxy:
        words = shake_hands(proxy.port, authorities)
        proxy.heal()
        assert shake_hands(proxy.port, authorities) == ""
    assert BAD[kind] in words


def shake_hands(port: int, authorities: Authorities) -> str:
    context = ssl.create_default_context(cafile=authorities.trusted_pem)
    with socket.create_connection((HOST, port), timeout=10) as connection:
        try:
            with context.wrap_socket(connection, server_hostname=HOST) as wrapped:
                wrapped.shutdown(socket.SHUT_WR)
        except ssl.SSLError as error:
            return str(error)
    return ""


@pytest.mark.mlflow
@pytest.mark.parametrize("kind", BAD)
def test_a_server_that_cannot_be_trusted_gets_nothing_until_it_can(
    kind: str, authorities: Authorities, server: Server, run_dir: Path, table: Table
) -> None:
    trust = {"MLFLOW_TRACKING_SERVER_CERT_PATH": authorities.trusted_pem}
    fault = Fault(
        f"TLS, {kind}",
        authorities.misbehaviour(kind),
        "kept",
        BAD[kind],
        environment=trust,
        most_requests=0,
    )
    outcome = run_case(fault, server.port, run_dir)
    enter(table, fault, outcome)
    judge(fault, outcome)


@pytest.mark.mlflow
def test_an_authority_that_the_system_does_not_know_is_not_trusted_by_default(
    authorities: Authorities, server: Server, run_dir: Path
) -> None:
    with Proxy(server.port, Misbehaviour(tls=authorities.server())) as proxy:
        with codex_obs.init(run_dir, mlflow_tracking_uri=proxy.uri) as run:
            run.log({"loss": 1.0})
            run.close(3.0)
        assert proxy.connections >= 1
        assert proxy.requests == []


@pytest.mark.mlflow
@pytest.mark.parametrize("how", ["its authority", "insecure", "a certificate of the client's own"])
def test_a_server_that_is_trusted_gets_everything(
    how: str, authorities: Authorities, server: Server, run_dir: Path, table: Table
) -> None:
    tls = authorities.particular_server() if how.startswith("a cert") else authorities.server()
    environment = {"MLFLOW_TRACKING_SERVER_CERT_PATH": authorities.trusted_pem}
    if how == "insecure":
        tls, environment = authorities.server("expired"), {"MLFLOW_TRACKING_INSECURE_TLS": "true"}
    elif how.startswith("a cert"):
        environment["MLFLOW_TRACKING_CLIENT_CERT_PATH"] = authorities.client_pem
    fault = Fault(f"TLS, trusted by {how}", Misbehaviour(tls=tls), "delivered", "", environment=environment)
    outcome = run_case(fault, server.port, run_dir)
    enter(table, fault, outcome)
    judge(fault, outcome)


@pytest.mark.mlflow
def test_a_server_that_wants_a_certificate_of_its_clients_gets_nothing_without(
    authorities: Authorities, server: Server, run_dir: Path, table: Table
) -> None:
    tls, trust = authorities.particular_server(), {"MLFLOW_TRACKING_SERVER_CERT_PATH": authorities.trusted_pem}
    misbehaviour = Misbehaviour(tls=tls, healed_tls=authorities.server())
    fault = Fault("TLS, wants a certificate", misbehaviour, "kept", "", environment=trust, most_requests=0)
    outcome = run_case(fault, server.port, run_dir)
    enter(table, fault, outcome)
    judge(fault, outcome)


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_SERVER_CERT_PATH", "MLFLOW_TRACKING_CLIENT_CERT_PATH"])
def test_a_certificate_that_is_not_there_is_an_error_at_once(
    variable: str, run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, str(tmp_path / "none.pem"))
    with pytest.raises((codex_obs.CodexObsError, OSError, ValueError), match=variable):
        codex_obs.init(run_dir, mlflow_tracking_uri=f"https://{HOST}:1")
