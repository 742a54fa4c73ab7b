"""The trainer's side of the sidecar: what it is handed, and waiting for it at the end."""

from __future__ import annotations

import json
import os
import select
import sys
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs import _backend, _export
from codex_obs._settings import environment
from codex_obs.sidecar import _state
from codex_obs.sidecar._trainer import started_at

if TYPE_CHECKING:
    from codex_obs._export import Beside
    from codex_obs._settings.settings import Settings
    from codex_obs.sidecar._process import Json

_MODULE = "codex_obs.sidecar"
_DIED = "the process beside this one has died before its work was done"
# Time between two looks at how it stands.
_LOOK_MS = 50
# Without a deadline, one that makes no progress for this long is waited for no longer.
_PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Launch:
    """How the sidecar is started; the engine reads it by the names of its attributes.

    Attributes:
        program: The interpreter.
        arguments: Its arguments.
        environment: Names and values.
        input: What it reads from standard input; may be secret.
        token: Names it.
        at_once: Whether it is started with the session; else once it is asked for.
        given_up: What the user hears if it cannot be kept running.
        remedy: What the user can do where its work is not done.
    """

    program: str
    arguments: list[str]
    environment: list[tuple[str, str]]
    input: bytes
    token: str
    at_once: bool
    given_up: str
    remedy: str


def launch(
    directory: str, settings: Settings, beside: list[Beside], *, delivers: bool = True, at_once: bool = True
) -> Launch:
    """Return how to start the sidecar of a run.

    Args:
        directory: The run directory, absolute.
        settings: Those of the run.
        beside: What it delivers to.
        delivers: Whether it does: one machine delivers, the others are only sampled.
        at_once: Whether it is started with the session.
    """
    package = str(Path(_backend.__file__).parents[1])
    token = os.urandom(8).hex()
    handed: Json = {
        "path": [os.path.abspath(entry) for entry in sys.path],  # noqa: PTH100 - as the interpreter does it
        "python_path": environment.python_path(),
        "directory": directory,
        "token": token,
        "trainer": (os.getpid(), started_at(os.getpid())),
        "rank": settings.rank or 0,
        "delivers": delivers,
        "settings": {field.name: getattr(settings, field.name) for field in fields(settings)},
    }
    arguments = [each.arguments for each in beside]
    arguments += [each.arguments for each in _export.artifact_places(settings)]
    commands = " and ".join(f"`{command(directory, each)}`" for each in dict.fromkeys(arguments))
    remedy = f"run {commands} to deliver the rest" if commands else "the machine is not sampled"
    return Launch(
        program=sys.executable,
        arguments=["-P", "-m", _MODULE],
        environment=environment.for_sidecar(package),
        input=json.dumps(handed).encode(),
        token=token,
        at_once=at_once,
        given_up=f"the process beside this one cannot be kept running ({sys.executable} -m {_MODULE}): {remedy}",
        remedy=remedy,
    )


def wait(run: _backend.Recorder, token: str, remedy: str, deadline: float | None) -> list[str]:
    """Wait until the sidecar has done what it can for a run that is closed. Gives what the user should hear.

    Args:
        run: The run.
        token: That of its sidecar.
        remedy: What the user can do where its work is not done.
        deadline: When to stop waiting, by `time.monotonic`; None as long as it makes progress.
    """
    directory = os.fspath(run.directory)
    path, turn = _state.path_in(directory), Path(_backend.sidecar_turn_path(directory))
    found, moved = _state.read(path, token), time.monotonic()
    is_late = False
    while not is_late and not (found is not None and found.is_done):
        if not _is_at_work(run, turn, token):
            is_kept = _backend.sidecar_again(run)
            if not is_kept:
                return [] if is_kept is None else [f"{_DIED}: {remedy}"]
        ended = _ended(run, _LOOK_MS)
        now, before = time.monotonic(), found
        found = _state.read(path, token) or before
        moved = now if found != before else moved
        if ended and not _has_the_turn(turn, token):
            # One that has nothing left to say takes that away.
            found = _state.read(path, token)
            break
        is_late = now >= (moved + _PATIENCE_S if deadline is None else deadline)
    has_ended = _ended(run, 0)
    if found is None:
        if has_ended:
            return [f"{_DIED}: {remedy}"] if _has_the_turn(turn, token) else []
        return [f"the process beside this one has not begun its work yet; if it cannot, {remedy}"]
    left = [each for each in found.left if each.bytes != 0 or each.problem]
    unheard = _backend.sidecar_words(run)
    others = [words for words in unheard if not any(each.problem and each.problem in words for each in left)]
    return others + [_words(directory, each, has_ended=has_ended) for each in left]


def _ended(run: _backend.Recorder, longest_ms: int) -> bool:
    """Whether the sidecar ends within some time, or does not run."""
    ends = _backend.sidecar_ends(run)
    if ends is None:
        return True
    poll = select.poll()
    poll.register(ends, select.POLLIN)
    return bool(poll.poll(longest_ms))


def _has_the_turn(turn: Path, token: str) -> bool:
    """Whether it is the sidecar of the run: no other one has taken over, and it has not let go of that at its end."""
    try:
        return turn.read_text() == token
    except OSError:
        return False


def _is_at_work(run: _backend.Recorder, turn: Path, token: str) -> bool:
    return not (_ended(run, 0) and _has_the_turn(turn, token))


def command(directory: str, arguments: str) -> str:
    """Return the command that delivers the rest of a run, for a shell."""
    import shlex  # noqa: PLC0415 - words only

    return f"codex-ndjson sync {shlex.quote(directory)} {arguments}"


def _words(directory: str, left: _state.Left, *, has_ended: bool) -> str:
    lacks = f"{left.bytes} bytes of the log" if left.bytes else "the run's status"
    lacks = "the log" if left.bytes is None else lacks
    why = f": {left.problem}" if left.problem else ""
    later = "" if has_ended else "the process beside this one goes on; if it cannot end, "
    return f"not delivered to {left.name}: {lacks}{why}; {later}run `{command(directory, left.arguments)}`"
