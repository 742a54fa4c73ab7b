"""Stand in for W&B's server, as far as its client asks: print the port, keep what arrives, write it at the end.

Usage: wandb_stand_in.py FILE. FILE gets the history and the events of each run by line number once standard input
is closed; FILE.begun is there once a run was named. /control/lines gives how many lines of history each run has;
after /control/away every other request is answered with 503, until /control/back.
"""

import gzip
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import wandb_artifacts

VIEWER = {"id": "u", "entity": "me", "flags": "{}", "username": "me", "email": "me@localhost", "teams": {"edges": []}}
SERVER: dict[str, Any] = {
    "cliVersionInfo": {"max_cli_version": "99.0.0"},
    "latestLocalVersionInfo": None,
    "features": [],
    "messages": [],
}


class Server(BaseHTTPRequestHandler):
    """Answers of the server."""

    protocol_version = "HTTP/1.1"
    server: ThreadingHTTPServer
    # By run: the lines of its history and of its events by number, and what else was said of it.
    history: ClassVar[dict[str, dict[int, str]]] = {}
    events: ClassVar[dict[str, dict[int, str]]] = {}
    runs: ClassVar[dict[str, dict[str, Any]]] = {}
    is_away: ClassVar[bool] = False

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        _, kind, word = [*self.path.split("/"), "", ""][:3]
        if kind == "control" and word in {"away", "back"}:
            Server.is_away = word == "away"
        self._answer({run: len(lines) for run, lines in list(self.history.items())}, is_control=kind == "control")

    def do_PUT(self) -> None:
        wandb_artifacts.put(self.path, self._body())
        self._answer({})

    def do_POST(self) -> None:
        body = json.loads(self._body() or b"{}")
        if self.is_away:
            self._answer({})
            return
        if self.path.endswith("/graphql"):
            self._answer({"data": self._graphql(body.get("query", ""), body.get("variables") or {})})
            return
        if "/file_stream" in self.path:
            run = self.path.split("/")[-2]
            for name, part in (body.get("files") or {}).items():
                kept = {"wandb-history.jsonl": self.history, "wandb-events.jsonl": self.events}.get(name)
                if kept is not None:
                    kept.setdefault(run, {}).update(enumerate(part["content"], part["offset"]))
                if name == "wandb-summary.json":
                    self.runs[run]["summary"] = part["content"][-1]
            if body.get("complete"):
                self.runs[run]["exitcode"] = body.get("exitcode")
            self._answer({"limits": {}})
            return
        self._answer({})

    def _graphql(self, query: str, variables: dict[str, Any]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        name = variables.get("name") or variables.get("runId") or ""
        if "viewer" in query:
            data["viewer"] = VIEWER
        if "serverInfo" in query:
            data["serverInfo"] = SERVER
        if "upsertBucket" in query:
            Path(f"{sys.argv[1]}.begun").touch()
            is_new = name not in self.runs
            self.runs.setdefault(name, {}).update({key: value for key, value in variables.items() if value is not None})
            data["upsertBucket"] = {"bucket": self._bucket(name), "inserted": is_new}
        if "RunResumeStatus" in query:
            bucket = self._resumed(name) if name in self.runs else None
            data["model"] = {"id": "P", "name": "p", "entity": {"id": "E", "name": "me"}, "bucket": bucket}
        address = f"http://127.0.0.1:{self.server.server_port}/up"
        data |= wandb_artifacts.answer(query, variables, address)
        if "createRunFiles" in query:
            files = [{"name": file, "uploadUrl": f"{address}/{file}"} for file in variables.get("files") or []]
            data["createRunFiles"] = {"runID": "X", "uploadHeaders": [], "files": files}
        return data

    def _bucket(self, name: str) -> dict[str, Any]:
        run = self.runs[name]
        project = {"id": "P", "name": run.get("project") or "p", "entity": {"id": "E", "name": "me"}}
        return {
            "id": f"ID{name}",
            "name": name,
            "displayName": run.get("displayName") or name,
            "description": "",
            "config": run.get("config") or "{}",
            "sweepName": None,
            "historyLineCount": len(self.history.get(name, {})),
            "project": project,
        }

    def _resumed(self, name: str) -> dict[str, Any]:
        lines = self.history.get(name, {})
        last = [lines[max(lines)]] if lines else []
        return self._bucket(name) | {
            "eventsLineCount": 0,
            "logLineCount": 0,
            "historyTail": json.dumps(last),
            "summaryMetrics": self.runs[name].get("summary") or json.dumps({"_step": len(lines) - 1}),
            "eventsTail": "[]",
            "wandbConfig": '{"t":{"1":1}}',
            "tags": self.runs[name].get("tags") or [],
        }

    def _body(self) -> bytes:
        body = self.rfile.read(int(self.headers.get("content-length") or 0))
        return gzip.decompress(body) if self.headers.get("content-encoding") == "gzip" else body

    def _answer(self, document: dict[str, Any], *, is_control: bool = False) -> None:
        body = json.dumps(document).encode()
        self.send_response(503 if self.is_away and not is_control else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def main() -> None:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(server.server_port, flush=True)
    sys.stdin.read()
    server.shutdown()
    arrived = {"history": Server.history, "events": Server.events, "runs": Server.runs}
    arrived["artifacts"] = [wandb_artifacts.uploaded[identifier] for identifier in wandb_artifacts.committed]
    Path(sys.argv[1]).write_text(json.dumps(arrived))


if __name__ == "__main__":
    main()
