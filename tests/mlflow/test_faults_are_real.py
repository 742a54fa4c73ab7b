"""Every fault of the table does what its name says, as seen by a bare client: no exporter, no MLflow."""

from __future__ import annotations

from http.client import HTTPConnection, HTTPException
from typing import TYPE_CHECKING

import pytest

from rig.catalogue import FAULTS
from rig.observer import observe
from rig.proxy import LOG_BATCH, Proxy
from rig.stub import Stub

if TYPE_CHECKING:
    from rig.fault import Fault

PATH = "/api/2.0/mlflow/"


def ask(proxy: Proxy, fault: Fault) -> str:
    return observe(proxy.port, PATH + (fault.misbehaviour.endpoint or LOG_BATCH), fault.probe)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_what_it_says(fault: Fault) -> None:
    with Stub() as server, Stub() as stranger, Proxy(server.port, fault.misbehaviour) as proxy:
        proxy.port_of_the_stranger = stranger.port
        times = fault.misbehaviour.times or 1
        assert [ask(proxy, fault) for _ in range(times)] == [fault.seen] * times
        assert len(server.requests) == times * fault.stored
        if fault.misbehaviour.times is None:
            proxy.heal()
        assert ask(proxy, fault) == "200 {}"
        assert len(server.requests) == times * fault.stored + 1
        path, _, body = server.requests[-1]
        assert path.startswith(PATH)
        assert body == fault.probe
        assert stranger.requests == []


def test_the_table_is_long_enough_and_names_no_fault_twice() -> None:
    names = [fault.name for fault in FAULTS]
    assert len(names) == len(set(names)) >= 60


def post_again(connection: HTTPConnection) -> None:
    connection.request("POST", PATH, b"{}")
    connection.getresponse()


def test_refusing_ends_the_connections_that_there_are() -> None:
    with Stub() as server, Proxy(server.port) as proxy:
        connection = HTTPConnection("127.0.0.1", proxy.port, timeout=10)
        connection.request("POST", PATH, b"{}")
        assert connection.getresponse().read() == b"{}"
        proxy.refuse()
        with pytest.raises((HTTPException, ConnectionError)):
            post_again(connection)
        connection.close()
        assert observe(proxy.port, PATH, b"{}") == "refused"
        proxy.listen()
        assert observe(proxy.port, PATH, b"{}") == "200 {}"
    assert len(server.requests) == 2


def test_other_endpoints_are_passed_on_while_one_misbehaves() -> None:
    fault = next(fault for fault in FAULTS if fault.name == "503, for ever")
    with Stub() as server, Proxy(server.port, fault.misbehaviour) as proxy:
        assert observe(proxy.port, f"{PATH}runs/search", b"{}") == "200 {}"
        assert ask(proxy, fault) == "503"
        assert [path for path, _, _ in server.requests] == [f"{PATH}runs/search"]
        assert [request.path for request in proxy.calls()] == [f"{PATH}runs/log-batch"]
