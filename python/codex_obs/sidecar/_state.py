"""How the sidecar stands: a file beside the journals, which the trainer reads when it closes."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path

from codex_obs import _backend


@dataclass(frozen=True, slots=True)
class Left:
    """What a destination still lacks.

    Attributes:
        name: The destination.
        arguments: Those with which `codex-ndjson sync` delivers to it.
        bytes: Bytes of the log that it has not got; None if that is not known.
        problem: Why it waits or has given up, if it does.
    """

    name: str
    arguments: str
    bytes: int | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class State:
    """How a sidecar stands.

    Attributes:
        token: Whose it is: each start of a sidecar by a trainer has one of its own.
        pid: Its process.
        is_done: Whether it has done what it can for a run that has ended.
        left: What each destination lacks.
        warnings: What the trainer's user should hear; the engine reads it by this name.
    """

    token: str
    pid: int
    is_done: bool
    left: tuple[Left, ...]
    warnings: tuple[str, ...]


def path_in(directory: str | os.PathLike[str]) -> Path:
    """Return where the sidecar of this machine says how it stands."""
    return Path(_backend.sidecar_state_path(os.fspath(directory)))


def read(path: Path, token: str) -> State | None:
    """Return what the sidecar of that token says of itself; None if there is nothing that can be read."""
    try:
        found = json.loads(path.read_bytes())
        left = tuple(Left(**each) for each in found["left"])
        warnings = tuple(str(words) for words in found["warnings"])
        state = State(str(found["token"]), int(found["pid"]), bool(found["is_done"]), left, warnings)
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return state if state.token == token else None


def write(path: Path, state: State) -> None:
    """Say how it stands, at once and as a whole.

    Raises:
        OSError: If it cannot be written.
    """
    new = path.with_name(f"{path.name}.{state.pid}.new")
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(asdict(state), file)
    new.replace(path)
