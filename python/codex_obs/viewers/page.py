"""A page on this machine that shows runs: its server, from start to end."""

from __future__ import annotations

import secrets
import socket
from contextlib import closing
from typing import TYPE_CHECKING

from codex_obs.viewers._assets import INSTALL, MissingPackageError, assets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["DEFAULT_PORT", "MissingPackageError", "serve"]

DEFAULT_PORT = 7117
_ADDRESS = "127.0.0.1"


def serve(paths: Sequence[Path], *, port: int | None, ready: Callable[[str], None]) -> None:
    """Show runs until the process is interrupted.

    Args:
        paths: Folders of runs, and runs. Nothing outside of them is shown.
        port: Port on the loopback interface; without one, `DEFAULT_PORT` or, if that is taken, a free one.
        ready: Called with the page's address once it can be opened.

    Raises:
        MissingPackageError: If a package of the extra ``view`` is not installed.
        OSError: If the port cannot be had.
    """
    files = assets()
    try:
        import asyncio  # noqa: PLC0415 - slow to import, which other commands need not wait for

        import uvicorn  # noqa: PLC0415 - of the extra, and slow to import

        from codex_obs.viewers._app import application  # noqa: PLC0415 - the same
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"starlette", "uvicorn"}:
            raise
        raise MissingPackageError(f"The page needs {error.name}: {INSTALL}") from error
    token = secrets.token_urlsafe(16)
    with closing(_listener(port)) as listener:
        # Nothing of a request is logged: its path has the token.
        config = uvicorn.Config(
            application(paths, files, token),
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=2,
            # A question may name hundreds of runs.
            h11_max_incomplete_event_size=1 << 20,
        )
        address = f"http://{_ADDRESS}:{listener.getsockname()[1]}/{token}/"

        class Server(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets=sockets)
                # From here on the page answers, and an interrupt ends it in order.
                await asyncio.to_thread(ready, address)

        Server(config).run(sockets=[listener])


def _listener(port: int | None) -> socket.socket:
    if port is not None:
        return _bound(port)
    try:
        return _bound(DEFAULT_PORT)
    except OSError:
        return _bound(0)


def _bound(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((_ADDRESS, port))
    except OSError:
        listener.close()
        raise
    return listener
