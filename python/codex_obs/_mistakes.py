"""What is meant by a call that is wrong: words for the errors of common mistakes. Nothing here is loaded before one."""

from __future__ import annotations

import difflib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

PREFIX = "CODEX_OBS_"

_SHOWN_CHARACTERS = 40
_SHOWN_NAMES = 3

_LOG_ARGUMENTS = ("step", "split", "dataset", "tags", "timestamp")

# What other loggers call it, and what to give here.
_INIT_ARGUMENTS = {
    "project": "give run_dir='runs/<project>/<run>' to group runs in a folder, or tags={'project': ...}",
    "group": "give tags={'group': ...}",
    "job_type": "give tags={'job_type': ...}",
    "notes": "give tags={'notes': ...}",
    "entity": "there are no accounts: leave it out",
    "id": "give run_id=...",
    "dir": "give run_dir=...",
    "path": "give run_dir=...",
    "logdir": "give run_dir=...",
    "log_dir": "give run_dir=...",
    "save_dir": "give run_dir=...",
    "output_dir": "give run_dir=...",
    "run_name": "give name=...",
    "hparams": "give config=...",
    "params": "give config=...",
    "hyperparameters": "give config=...",
    "mode": "logging is local, and nothing is sent without an address: leave it out",
    "offline": "logging is local, and nothing is sent without an address: leave it out",
    "sync_tensorboard": "leave it out",
    "reinit": "leave it out: init in another directory opens a second run",
    "experiment": "give mlflow_experiment_name=... for MLflow, else tags={'experiment': ...}",
    "experiment_name": "give mlflow_experiment_name=... for MLflow, else tags={'experiment': ...}",
    "experiment_id": "give mlflow_experiment_id=...",
    "tracking_uri": "give mlflow_tracking_uri=...",
    "step": "give resume_step=...",
}


def of_log(metrics: object, step: object, unknown: Mapping[str, object] | None) -> str:
    """Say what is wrong with a call of ``log`` whose metrics are no mapping or that has arguments of other names."""
    names = list(unknown or ())
    if isinstance(metrics, str):
        value = _shown(step) if isinstance(step, int | float) else "value"
        at_step = f", step={_shown_value(unknown['step'])}" if unknown and "step" in unknown else ""
        return f"metrics must be a mapping, not str: write run.log({{{_shown(metrics)}: {value}}}{at_step})"
    if metrics is None and unknown and not set(names) & set(_LOG_ARGUMENTS):
        pairs = ", ".join(f"{_shown(name)}: {_shown_value(unknown[name])}" for name in names[:_SHOWN_NAMES])
        more = ", ..." if len(names) > _SHOWN_NAMES else ""
        at_step = "" if step is None else f", step={_shown_value(step)}"
        return f"metrics are given as one mapping: write run.log({{{pairs}{more}}}{at_step})"
    if not names:
        return "metrics must be a mapping, not NoneType"
    meant = close_to(names[0], _LOG_ARGUMENTS)
    if meant:
        return f"log has no argument {names[0]!r:.60}: did you mean {meant!r}?"
    return f"log has no argument {names[0]!r:.60}: metrics belong in the mapping, other facts in tags={{...}}"


def of_init(name: str, arguments: Iterable[str]) -> str:
    """Say what to give ``init`` or `Settings` instead of an argument that does not exist."""
    remedy = _INIT_ARGUMENTS.get(name)
    if remedy is None:
        meant = close_to(name, arguments)
        remedy = f"did you mean {meant!r}?" if meant else "help(codex_obs.init) and help(codex_obs.Settings) list them"
    return f"unknown setting {name!r:.60}: {remedy}"


def of_variable(name: str, variables: Iterable[str]) -> str:
    """Say that an environment variable is not read, and which one may be meant."""
    # Compared is what follows the prefix, which all of them share.
    by_ending = {variable.removeprefix(PREFIX): variable for variable in variables}
    meant = close_to(name.removeprefix(PREFIX), by_ending)
    remedy = f"did you mean {by_ending[meant]}?" if meant else "codex_obs.env_vars() lists those that are"
    return f"the environment variable {name} is not read: {remedy}"


def close_to(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is likely meant by another one."""
    by_case = {other.lower(): other for other in known}
    found = difflib.get_close_matches(name.lower(), by_case, n=1, cutoff=0.7)
    return by_case[found[0]] if found else None


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except Exception:  # noqa: BLE001 - whatever a stranger's repr raises, the error to report is another one
        return "..."
    text = f'"{text[1:-1]}"' if isinstance(value, str) and '"' not in text else text
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _shown_value(value: object) -> str:
    return _shown(value) if isinstance(value, int | float | str) else "..."
