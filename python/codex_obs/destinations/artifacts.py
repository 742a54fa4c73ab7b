"""Artifacts on their way: what lies in ``artifacts/`` of a run and a destination does not have yet.

Which ones it has stands in a file among the internals, a line each. A line follows its upload, so that after a crash
between them the same is uploaded again, which replaces it by itself.
"""

from __future__ import annotations

import json
import os
import stat
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from codex_obs import _backend
from codex_obs._settings import environment
from codex_obs.destinations import _wandb_client

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FOLDER = "artifacts"
_MODE = 0o600
_WANDB_TIMEOUT_S = 300
_REMEDY = "pip install 'codex-obs[{extra}]'"


class Artifact(NamedTuple):
    """A file below the artifacts.

    Attributes:
        name: Its path below them, with slashes.
        path: Where it lies.
        size: Its bytes.
        mtime_ns: When it was written last.
    """

    name: str
    path: Path
    size: int
    mtime_ns: int


class Outcome(NamedTuple):
    """What came of a delivery.

    Attributes:
        delivered: How many artifacts were delivered.
        waiting: How many are still to be.
        why: Why these are.
    """

    delivered: int
    waiting: int
    why: str | None


def pending(run_dir: Path, address: str) -> list[Artifact]:
    """Give the artifacts that a destination does not have as they are now, in order of their names."""
    known = _noted(run_dir, address)
    found = sorted(_files(run_dir / FOLDER), key=lambda each: each.name)
    return [each for each in found if known.get(each.name) != (each.size, each.mtime_ns)]


def note(run_dir: Path, address: str, artifacts: Iterable[Artifact]) -> None:
    """Note that a destination has artifacts.

    Raises:
        OSError: If that cannot be written.
    """
    lines = [{"path": each.name, "size": each.size, "mtime_ns": each.mtime_ns} for each in artifacts]
    text = "".join(f"{json.dumps(line)}\n" for line in lines)
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
    with open(os.open(_backend.artifact_notes_path(run_dir, address), flags, _MODE), "r+b", buffering=0) as file:  # noqa: PTH123 - a descriptor
        end = file.seek(0, os.SEEK_END)
        is_torn = end > 0 and os.pread(file.fileno(), 1, end - 1) != b"\n"
        file.write(f"\n{text}".encode() if is_torn else text.encode())


def deliver(run_dir: Path, kind: str, *, run: str, uri: str | None = None, exit_code: int = 0) -> Outcome:
    """Deliver the artifacts that a destination does not have, by the vendor's own package.

    Args:
        run_dir: The run directory.
        kind: ``"mlflow"`` or ``"wandb"``.
        run: The remote run.
        uri: The MLflow server or store.
        exit_code: How the run ended, for W&B.
    """
    address = f"{kind} {uri or 'online'} {run}"
    waiting = pending(run_dir, address)
    if not waiting:
        return Outcome(0, 0, None)
    environment.quieten_vendors()
    try:
        vendor = import_module(kind)
    except ImportError as error:
        missing = _REMEDY.format(extra=kind) if error.name == kind else f"{kind} cannot be imported: {error}"
        return Outcome(0, len(waiting), missing)
    upload = _to_mlflow(vendor, uri, run) if kind == "mlflow" else _to_wandb(vendor, run, exit_code, run_dir)
    delivered = 0
    why: str | None = None
    for batch in [[each] for each in waiting] if kind == "mlflow" else [waiting]:
        try:
            upload(batch)
            note(run_dir, address, batch)
        except Exception as error:  # noqa: BLE001 - a stranger's code: what it raises is why the rest waits
            line = next(iter(str(error).splitlines()), "")
            why = why or f"{batch[0].name}: {type(error).__name__}: {line}"
        else:
            delivered += len(batch)
    return Outcome(delivered, len(waiting) - delivered, why)


def _to_mlflow(mlflow: Any, uri: str | None, run: str) -> Callable[[list[Artifact]], None]:  # noqa: ANN401 - a module
    client = mlflow.MlflowClient(tracking_uri=uri)

    def upload(batch: list[Artifact]) -> None:
        for each in batch:
            client.log_artifact(run, str(each.path), artifact_path=os.path.dirname(each.name) or None)  # noqa: PTH120 - a name

    return upload


def _to_wandb(wandb: Any, run: str, exit_code: int, run_dir: Path) -> Callable[[list[Artifact]], None]:  # noqa: ANN401
    def upload(_: list[Artifact]) -> None:
        # A version has every artifact; what W&B has by its checksum is not sent again.
        files = wandb.Artifact(f"run-{run}-artifacts", type="codex_obs")
        for each in _files(run_dir / FOLDER):
            # Without a copy of its own among W&B's files.
            files.add_file(str(each.path), name=each.name, policy="immutable", skip_cache=True)
        with _wandb_client.opened(wandb, run, run_dir, exit_code) as opened:
            opened.log_artifact(files).wait(timeout=_WANDB_TIMEOUT_S)

    return upload


def _files(folder: Path) -> Iterator[Artifact]:
    """Give every file below a folder. Links lead nowhere."""
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            if stat.S_ISREG(found.st_mode):
                yield Artifact(path.relative_to(folder).as_posix(), path, found.st_size, found.st_mtime_ns)


def _noted(run_dir: Path, address: str) -> dict[str, tuple[object, object]]:
    try:
        text = _backend.artifact_notes_path(run_dir, address).read_bytes()
    except FileNotFoundError:
        return {}
    known: dict[str, tuple[object, object]] = {}
    for line in text.splitlines():
        try:
            found = json.loads(line)
            known[found["path"]] = (found["size"], found["mtime_ns"])
        except (ValueError, KeyError, TypeError):
            # Torn by a crash: uploaded again.
            continue
    return known
