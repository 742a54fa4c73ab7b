"""What the page can ask for. Everything is read; nothing is ever changed."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.responses import FileResponse, Response
from starlette.routing import Route

from codex_obs import _inspection
from codex_obs.errors import CodexObsError, NoLogError
from codex_obs.viewers import _records
from codex_obs.viewers._assets import media_type
from codex_obs.viewers._curves import Asked, Curves
from codex_obs.viewers._guard import Guard
from codex_obs.viewers._runs import Runs
from codex_obs.viewers._wire import MEDIA_TYPE, as_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from starlette.requests import Request
    from starlette.types import ASGIApp

    Answer = Callable[[Request], Response]

# Steps that a number of the page can be, and seconds whose microseconds are below 2**63.
_MOST = 2**53
_MOST_S = 2**42
_MAX_PIXELS = 4000
_MAX_RUNS = 500


def application(paths: Sequence[Path], assets: Mapping[str, Path], token: str) -> ASGIApp:
    """Make the page's server.

    Args:
        paths: Folders of runs, and runs: what it shows.
        assets: Files of the page by name.
        token: What the address ends with.
    """
    page = _Page(paths, assets)
    routes = [
        Route("/", page.file),
        Route("/api/runs", page.runs),
        Route("/api/names", page.names),
        Route("/api/pixels", page.pixels),
        Route("/api/values", page.values),
        Route("/api/run", page.run),
        Route("/api/system", page.system),
        Route("/api/spans", page.spans),
        Route("/{name}", page.file),
    ]
    errors: dict[Any, Any] = {CodexObsError: _sorry, HTTPException: _refused}
    # The first part of a path is the token, which the guard has looked at.
    return Guard(Starlette(routes=routes, exception_handlers=errors), token)


class _Page:
    # Methods are no coroutines: each runs in a thread, where reading may take its time.

    def __init__(self, paths: Sequence[Path], assets: Mapping[str, Path]) -> None:
        self._assets = assets
        self._curves = Curves()
        self._runs = Runs(paths, extent=self._curves.extent)

    def file(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        path = self._assets.get(name)
        if path is None:
            raise HTTPException(404)
        return FileResponse(path, media_type=media_type(name))

    def runs(self, request: Request) -> Response:
        query = request.query_params
        listing = self._runs.listing(
            metrics=query.getlist("metric"),
            where=query.getlist("where"),
            sort=query.get("sort"),
            reverse="reverse" in query,
        )
        return _json(request, listing)

    def names(self, request: Request) -> Response:
        found = {}
        for key, path in self._chosen(request):
            curves = self._curves.names(path)
            found[key] = [[*curve.key, curve.kind, curve.rows] for curve in curves]
        return _json(request, found)

    def pixels(self, request: Request) -> Response:
        query = request.query_params
        axis = query.get("axis", "step")
        if axis not in {"step", "time", "relative"}:
            raise HTTPException(400, f"axis={axis}: give step, time or relative.")
        pixels = min(max(_whole(query.get("pixels", "600")), 1), _MAX_PIXELS)
        most = _MOST if axis == "step" else _MOST_S
        start, stop = (_number(query.get(end), most) for end in ("start", "stop"))
        asked = Asked(axis, start, stop, pixels)  # type: ignore[arg-type]  # one of the three
        packed = self._curves.pixels(self._chosen(request), query.get("metric", ""), asked)
        return _tagged(request, packed, MEDIA_TYPE)

    def values(self, request: Request) -> Response:
        metric = request.query_params.get("metric", "")
        found = []
        for key, path in self._chosen(request):
            series = self._curves.series(path)
            for curve in series.names():
                if curve.key.metric == metric and curve.structured:
                    shown = _records.values_of(series, curve.key)
                    found.append({"run": key, **curve.key._asdict(), **shown})
        return _json(request, found)

    def run(self, request: Request) -> Response:
        ((key, path),) = self._chosen(request)[:1]
        return _json(request, {"key": key} | _inspection.inspect(path))

    def system(self, request: Request) -> Response:
        return _tagged(request, _records.samples(self._chosen(request)), MEDIA_TYPE)

    def spans(self, request: Request) -> Response:
        return _json(request, {key: _records.spans(path) for key, path in self._chosen(request)})

    def _chosen(self, request: Request) -> list[tuple[str, Path]]:
        keys = list(dict.fromkeys(request.query_params.getlist("run")))
        if not 1 <= len(keys) <= _MAX_RUNS:
            raise HTTPException(400, f"{len(keys)} runs were asked for: give 1 to {_MAX_RUNS}.")
        return [(key, self._runs.find(key)) for key in keys]


def _number(text: str | None, most: int = _MOST) -> float | None:
    if text is None:
        return None
    try:
        number = float(text)
    except ValueError:
        raise HTTPException(400, f"{text} is no number.") from None
    if not abs(number) < most:
        raise HTTPException(400, f"{text} is out of range.")
    return number


def _whole(text: str) -> int:
    return int(_number(text) or 0)


def _json(request: Request, content: object) -> Response:
    return _tagged(request, as_json(content).encode(), "application/json")


def _tagged(request: Request, content: bytes, kind: str) -> Response:
    """Answer with a mark of the content, and with that alone where the page has it already."""
    tag = f'"{hashlib.blake2b(content, digest_size=12).hexdigest()}"'
    headers = {"etag": tag, "cache-control": "no-store"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=kind, headers=headers)


def _sorry(_request: Request, error: CodexObsError) -> Response:
    return _words(404 if isinstance(error, NoLogError) else 422, str(error))


def _refused(_request: Request, error: HTTPException) -> Response:
    return _words(error.status_code, error.detail)


def _words(status: int, words: str) -> Response:
    return Response(json.dumps({"problem": words}), status, media_type="application/json")
