"""Faults that are answers: refusals, lies, delays and redirects."""

from __future__ import annotations

import json
import time
from email.utils import formatdate
from typing import TYPE_CHECKING

from rig.fault import Fault, lasting, once
from rig.proxy import Misbehaviour
from rig.transport_faults import commit_then_cut

if TYPE_CHECKING:
    from collections.abc import Callable

    from rig.fault import Verdict
    from rig.proxy import Exchange

POISON = b"poison"
# As long as the name, and no name of MLflow's.
_BAD_NAME = b"p%ison"
_LOGIN = b"<!doctype html><html><title>Sign in</title><body>Please sign in to continue.</body></html>"
_SIZE_LIMIT = 2000
CREATE = "runs/create"


def error(code: str, message: str) -> bytes:
    """Give an error as MLflow words it."""
    return json.dumps({"error_code": code, "message": message}).encode()


def saying(status: int | str, body: bytes = b"", **headers: str) -> Callable[[Exchange], None]:
    """Answer so, without asking the server."""
    return lambda exchange: exchange.answer(status, body, **headers)


def no_content(exchange: Exchange) -> None:
    exchange.body()
    exchange.send(b"HTTP/1.1 204 No Content\r\n\r\n")


def poisoned(refusal: Callable[[Exchange], None]) -> Callable[[Exchange], None]:
    """Refuse the batches that have the poisoned metric, and pass on the others."""

    def handler(exchange: Exchange) -> None:
        if POISON in exchange.body():
            refusal(exchange)
        else:
            exchange.pass_on()

    return handler


def refuse_by_the_server(exchange: Exchange) -> None:
    """Have the server itself refuse the metric, in its own words."""
    exchange.request.body = exchange.body().replace(POISON, _BAD_NAME)
    exchange.pass_on()


def too_large(exchange: Exchange) -> None:
    """Refuse what is larger than a limit, as a proxy with a limit does."""
    if exchange.request.length > _SIZE_LIMIT:
        exchange.answer("413 Request Entity Too Large", b"<html>413</html>", content_type="text/html")
    else:
        exchange.pass_on()


def _retry_after(
    form: str, value: Callable[[], str] | str | None, *, times: int = 1, verdict: Verdict = "delivered"
) -> Fault:
    def handler(exchange: Exchange) -> None:
        headers = {} if value is None else {"retry_after": value if isinstance(value, str) else value()}
        exchange.answer("429 Too Many Requests", error("REQUEST_LIMIT_EXCEEDED", "slow down"), **headers)

    return Fault(f"429, {form}", Misbehaviour(handler, times=times), verdict, "429")


def _poison(name: str, refusal: Callable[[Exchange], None], seen: str, *, stored: bool = False) -> Fault:
    return lasting(name, poisoned(refusal), seen, "rejected", stored=stored, most_requests=200, probe=POISON.ljust(200))


def _redirect(status: int) -> Fault:
    """Send the client to another host, whose port the test puts into the proxy."""

    def handler(exchange: Exchange) -> None:
        exchange.answer(status, b"", location=f"http://localhost:{exchange.proxy.port_of_the_stranger}/elsewhere")

    return lasting(f"{status} to another host, for ever", handler, str(status))


def _creation(
    name: str,
    handler: Callable[[Exchange], None],
    verdict: Verdict,
    seen: str,
    *,
    times: int | None,
    stored: bool = False,
) -> Fault:
    return Fault(
        f"runs/create: {name}", Misbehaviour(handler, times=times, endpoint=CREATE), verdict, seen, stored=stored
    )


_invalid = saying(400, error("INVALID_PARAMETER_VALUE", "One of the metrics is not to my liking"))
_deleted = error("INVALID_PARAMETER_VALUE", "The run 0 must be in the 'active' state. Current state is deleted.")
_unknown = error("RESOURCE_DOES_NOT_EXIST", "Run with id=0 not found")
_internal = saying(500, error("INTERNAL_ERROR", "Something went wrong"))

STATUS_FAULTS = (
    once("204 for what was not stored", no_content, "204"),
    lasting("200 with a login page, for ever", saying(200, _LOGIN, content_type="text/html"), "200 <!doctype"),
    once("200 with nothing in it", saying(200, b""), "200 "),
    once("200 with half of an object", saying(200, b'{"a'), '200 {"a'),
    once("201 for what was not stored", saying(201, b"{}"), "201"),
    _redirect(301),
    _redirect(302),
    _redirect(303),
    _redirect(307),
    _redirect(308),
    lasting("304, for ever", saying(304), "304"),
    _poison("400 that names metrics[i]", refuse_by_the_server, "200 {}", stored=True),
    _poison("400 that names nothing", _invalid, "400"),
    _poison("422 that names nothing", saying(422, b"unprocessable"), "422"),
    _poison("500 for one batch only", _internal, "500"),
    lasting("400: the run is deleted", saying(400, _deleted), "400", "stopped", most_requests=3),
    once("401, then right again", saying(401, b"who are you?"), "401"),
    lasting("401, for ever", saying(401, b"who are you?", www_authenticate="Basic"), "401", most_requests=4),
    lasting("403, for ever", saying(403, error("PERMISSION_DENIED", "no")), "403", most_requests=4),
    lasting("404: the run is unknown", saying(404, _unknown), "404", "stopped", most_requests=3),
    lasting("404 of another program", saying(404, _LOGIN, content_type="text/html"), "404"),
    lasting("405, for ever", saying(405, b"method not allowed"), "405"),
    once("408, then right again", saying(408), "408", times=2),
    once("409, then right again", saying(409, error("RESOURCE_CONFLICT", "at once")), "409", times=2),
    lasting("413 above 2 kB, for ever", too_large, "413", "delivered", most_requests=100, probe=bytes(3000)),
    _retry_after("without Retry-After", None, times=2),
    _retry_after("Retry-After: 1", "1", times=2),
    _retry_after("Retry-After: 0", "0", times=2),
    _retry_after("Retry-After: a date", lambda: formatdate(time.time() + 2, usegmt=True)),
    _retry_after("Retry-After: a date gone by", "Sun, 06 Nov 1994 08:49:37 GMT"),
    _retry_after("Retry-After: a date of old style", "Sunday, 06-Nov-94 08:49:37 GMT"),
    _retry_after("Retry-After: a day", "86400", verdict="kept"),
    _retry_after("Retry-After: 10 to the 30", "1" + "0" * 30, verdict="kept"),
    _retry_after("Retry-After: -1", "-1"),
    _retry_after("Retry-After: 1.5", "1.5"),
    _retry_after("Retry-After: soon", "soon"),
    _retry_after("Retry-After: nothing", ""),
    once("500, once", _internal, "500"),
    lasting("500, for ever", _internal, "500", most_requests=60),
    once("502 with a page", saying(502, b"<html>Bad Gateway</html>", content_type="text/html"), "502", times=2),
    once("503 with Retry-After", saying(503, b"", retry_after="1"), "503", times=2),
    lasting("503, for ever", saying(503), "503"),
    once("504", saying(504), "504", times=2),
    once("a status of 999", saying("999 Whatever"), "999"),
    once("a status of 99", saying("99 Whatever"), "no HTTP"),
    _creation("500, twice", _internal, "delivered", "500", times=2),
    _creation("commit, then cut", commit_then_cut, "delivered", "closed", times=1, stored=True),
    _creation("403, for ever", saying(403, error("PERMISSION_DENIED", "no")), "kept", "403", times=None),
    _creation(
        "a login page, for ever", saying(200, _LOGIN, content_type="text/html"), "kept", "200 <!doctype", times=None
    ),
)
