"""Runs on an MLflow server, read over its REST interface (``api/2.0/mlflow``) with the standard library alone."""

from __future__ import annotations

import base64
import json
import os
import re
import ssl
import time
from contextlib import suppress
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError
from urllib.parse import quote, unquote, urlencode, urlsplit
from urllib.request import HTTPRedirectHandler, HTTPSHandler, OpenerDirector, Request, build_opener

from codex_obs._settings import environment
from codex_obs._settings.addresses import hidden_user_info, without_user_info
from codex_obs._sources._base import Point, SourceError
from codex_obs._sources._mlflow_store import StoredRun, ended, number

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from codex_obs._sources._base import Account, Facts, Piece

_TIMEOUT_S = 60.0
# Waits before a request is repeated that a busy server did not answer.
_WAITS_S = (0.5, 2.0, 5.0)
_PAGE = 25_000  # the most that MLflow gives at once
_RUNS_PAGE = 1000
_TOO_MANY, _ERRORS = 429, 500
# What the browser shows: http://host/#/experiments/1/runs/<id>, with more behind it.
_PLACE = re.compile(r"/?experiments/(?P<experiment>\d+)(/runs/(?P<run>[0-9a-fA-F-]+))?")
_CA_VARIABLES = ("MLFLOW_TRACKING_SERVER_CERT_PATH", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class Server:
    """An MLflow server.

    Args:
        address: Its address, as of a tracking URI.
    """

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self.shown = hidden_user_info(address)
        self._base = without_user_info(address).rstrip("/")
        self._environment = environment.of_servers()
        self._headers = self._authorization(parts.username, parts.password)
        self._opener = self._made_opener()

    def _authorization(self, user: str | None, password: str | None) -> dict[str, str]:
        named = self._environment.get("MLFLOW_TRACKING_USERNAME") if user is None else unquote(user)
        secret = self._environment.get("MLFLOW_TRACKING_PASSWORD") if user is None else unquote(password or "")
        if named and secret is not None:
            return {"Authorization": f"Basic {base64.b64encode(f'{named}:{secret}'.encode()).decode()}"}
        token = self._environment.get("MLFLOW_TRACKING_TOKEN")
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _made_opener(self) -> OpenerDirector:
        context = ssl.create_default_context()
        authorities = next((self._environment[name] for name in _CA_VARIABLES if self._environment.get(name)), None)
        client = self._environment.get("MLFLOW_TRACKING_CLIENT_CERT_PATH")
        try:
            if authorities is not None:
                is_folder = os.path.isdir(authorities)  # noqa: PTH112 - text from the environment
                context.load_verify_locations(**{"capath" if is_folder else "cafile": authorities})
            if client:
                context.load_cert_chain(client)
        except OSError as error:
            raise SourceError(f"A certificate for {self.shown} cannot be read: {error}.") from error
        if self._environment.get("MLFLOW_TRACKING_INSECURE_TLS", "").lower() in ("true", "1"):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return build_opener(HTTPSHandler(context=context), _NoRedirect())

    def get(self, path: str, **arguments: object) -> dict[str, object]:
        """Ask for something.

        Raises:
            SourceError: If the server cannot be reached or refuses.
        """
        return self._asked(Request(f"{self._base}/api/2.0/mlflow/{path}?{urlencode(arguments)}"))  # noqa: S310 - checked

    def post(self, path: str, content: Mapping[str, object]) -> dict[str, object]:
        """Ask for something with a body. Raises as `get`."""
        request = Request(f"{self._base}/api/2.0/mlflow/{path}", data=json.dumps(content).encode())  # noqa: S310 - as above
        request.add_header("Content-Type", "application/json")
        return self._asked(request)

    def _asked(self, request: Request) -> dict[str, object]:
        for name, value in self._headers.items():
            request.add_header(name, value)
        for wait_s in (*_WAITS_S, None):
            try:
                with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                    found = json.loads(answer.read())
            except HTTPError as error:
                if wait_s is None or not (error.code == _TOO_MANY or error.code >= _ERRORS):
                    raise SourceError(f"{self.shown} answered {error.code}: {_words(error.read())}.") from error
            except (OSError, HTTPException) as error:
                if wait_s is None:
                    raise SourceError(f"{self.shown} cannot be reached: {error}.") from error
            except ValueError as error:
                raise SourceError(f"{self.shown} does not answer like an MLflow server.") from error
            else:
                return found if isinstance(found, dict) else {}
            time.sleep(wait_s)
        raise AssertionError  # pragma: no cover - the last turn returns or raises


class ServerRun(StoredRun):
    """A run on a server."""

    def __init__(self, server: Server, found: Mapping[str, object], experiment: str) -> None:
        self._server = server
        self._found = found
        self._info = _object(found.get("info"))
        run_id = str(self._info.get("run_id") or self._info.get("run_uuid"))
        super().__init__(str(self._info.get("run_name") or ""), run_id, {"experiment": experiment})

    def _pairs(self, kind: str) -> dict[str, object]:
        pairs = _object(self._found.get("data")).get(kind)
        return {str(pair["key"]): pair.get("value") for pair in pairs} if isinstance(pairs, list) else {}

    def facts(self) -> Facts:
        """Give name, parameters, tags and the start."""
        return self.made_facts(self._pairs("params"), self._pairs("tags"), _milliseconds(self._info.get("start_time")))

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give the history of one metric after the other, and the end."""
        names = list(self._pairs("metrics"))
        for done, name in enumerate(names):
            account.tell(done, len(names))
            token = ""
            while True:
                page = self._server.get(
                    "metrics/get-history", run_id=self.run_id, metric_key=name, max_results=_PAGE,
                    **({"page_token": token} if token else {}),
                )  # fmt: skip
                for point in page.get("metrics") or ():  # type: ignore[attr-defined]  # a list, where there is one
                    time_s = int(point["timestamp"]) / 1000
                    yield Point({name: number(float(point["value"]))}, int(point.get("step", 0)), time_s)
                token = str(page.get("next_page_token") or "")
                if not token:
                    break
        inputs = _object(self._found.get("inputs")).get("dataset_inputs")
        if isinstance(inputs, list) and inputs:
            account.left["dataset"] += len(inputs)
        files = self._server.get("artifacts/list", run_id=self.run_id).get("files")
        if isinstance(files, list) and files:
            account.left["artifact"] += len(files)
        end = ended(str(self._info.get("status")), _milliseconds(self._info.get("end_time")))
        if end is not None:
            yield end


class _NoRedirect(HTTPRedirectHandler):
    """Passes the user's secrets on to nobody."""

    def redirect_request(self, *_: object) -> None:
        return None


def server_runs(address: str, run_id: str | None, account: Account) -> list[ServerRun]:
    """Find the runs that an address means: of a run or an experiment as the browser shows it, or by the id of a run.

    Raises:
        SourceError: If it names a whole server, or there is no such run.
    """
    base, _, place = address.partition("#")
    found = _PLACE.match(place)
    server = Server(base)
    wanted = run_id or (found["run"] if found else None)
    if wanted is not None:
        run = _object(server.get("runs/get", run_id=wanted).get("run"))
        return [ServerRun(server, run, _experiment(server, str(_object(run.get("info")).get("experiment_id"))))]
    if found is None:
        raise SourceError(
            f"{server.shown} is a whole server: add --run ID, or give the address of a run or an experiment as the "
            "browser shows it."
        )
    return list(_runs_of(server, found["experiment"], account))


def _runs_of(server: Server, experiment: str, account: Account) -> Iterator[ServerRun]:
    name = _experiment(server, experiment)
    asked: dict[str, object] = {
        "experiment_ids": [experiment], "max_results": _RUNS_PAGE, "run_view_type": "ALL",
        "order_by": ["attributes.start_time ASC"],
    }  # fmt: skip
    while True:
        page = server.post("runs/search", asked)
        for run in page.get("runs") or ():  # type: ignore[attr-defined]  # a list, where there is one
            if _object(run.get("info")).get("lifecycle_stage") == "deleted":
                account.left["deleted run"] += 1
            else:
                yield ServerRun(server, run, name)
        if not page.get("next_page_token"):
            return
        asked["page_token"] = page["next_page_token"]


def _experiment(server: Server, number: str) -> str:
    found = server.get("experiments/get", experiment_id=quote(number))
    return str(_object(found.get("experiment")).get("name") or number)


def _object(value: object) -> Mapping[str, object]:
    return value if isinstance(value, dict) else {}


def _milliseconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float | str) and value != "" else None


def _words(body: bytes) -> str:
    """Take what a server says of a refusal out of its JSON."""
    text = body.decode(errors="replace")
    with suppress(ValueError, AttributeError):
        text = str(json.loads(text).get("message") or text)
    return " ".join(text.split())[:300].removesuffix(".")
