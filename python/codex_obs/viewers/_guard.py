"""Who may ask the page for something: a browser on this machine that was given its address."""

from __future__ import annotations

import re
import secrets
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HOST = re.compile(r"(?P<name>localhost|127(?:\.[0-9]{1,3}){3}|\[::1\])(?::[0-9]{1,5})?", re.IGNORECASE)
_ORIGIN = re.compile(r"https?://(?P<host>.+)")
# The page runs its own scripts and styles, speaks to its own server, and is shown in no frame. Markup is never made of
# text: a browser that knows trusted types refuses it.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
_OPEN_ADDRESS = "Open the address that codex-obs view has printed: it ends with a token of this start.\n"


class Guard:
    """Lets requests through that have the token as the first part of their path, and come from this page.

    A page of another site that leads its own name to this machine (DNS rebinding) is refused by its ``Host``; one that
    asks from where it is, by its ``Origin`` or ``Sec-Fetch-Site``.

    Args:
        app: What is guarded. It sees paths without the token.
        token: What a request must know.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._token = token.encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # the page has no sockets: the server closes this one

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(_HEADERS)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refusal = self._refusal(scope)
        if refusal is not None:
            await PlainTextResponse(refusal, 403)(scope, receive, send_safely)
            return
        root = f"/{self._token.decode()}"
        await self._app(dict(scope) | {"root_path": scope.get("root_path", "") + root}, receive, send_safely)

    def _refusal(self, scope: Scope) -> str | None:
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not _HOST.fullmatch(hosts[0]):
            return "This page answers to localhost, 127.0.0.1 and [::1] only.\n"
        origins = headers.getlist("origin")
        if any(not _is_same(origin, hosts[0]) for origin in origins):
            return "This page answers itself only, not other sites.\n"
        # The address may be clicked anywhere; a picture, a script or a frame of another site may not name it.
        is_visit = headers.get("sec-fetch-mode") == "navigate" and headers.get("sec-fetch-dest") == "document"
        if headers.get("sec-fetch-site", "none") not in {"same-origin", "none"} and not is_visit:
            return "This page answers itself only, not other sites.\n"
        given = scope["path"].lstrip("/").partition("/")[0].encode()
        return None if secrets.compare_digest(given, self._token) else _OPEN_ADDRESS


def _is_same(origin: str, host: str) -> bool:
    match = _ORIGIN.fullmatch(origin)
    return match is not None and match["host"].casefold() == host.casefold()
