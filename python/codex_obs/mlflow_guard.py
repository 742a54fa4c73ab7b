"""Keeps MLflow's own client on this machine: programs that call ``mlflow`` themselves call this first.

What is asked for elsewhere (a server, ``databricks``, a folder of another host) becomes a local store, unless
``MLFLOW_ALLOW_REMOTE`` or ``CODEX_ALLOW_REMOTE_TRACKING`` says ``1``, ``true``, ``yes`` or ``on``. Destinations of
`codex_obs` are not concerned. Importing this module does nothing.
"""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs._extra import extra
from codex_obs._settings import environment, tracking, variables
from codex_obs._settings.addresses import hidden_user_info
from codex_obs._visible import visible
from codex_obs.destinations import mlflow_store
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["Decision", "bootstrap_offline_tracking", "ensure_file_backend"]

_DATABASE = "mlflow.db"
_FOLDER = "artifacts/mlruns"
_EXPERIMENT = "MLFLOW_EXPERIMENT_ID"
_ON = ("1", "true", "yes", "on")
_logger = logging.getLogger("codex_obs")


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Where MLflow's own client writes, and why. Addresses have no user name and password.

    Attributes:
        requested_uri: What was asked for, by an argument or ``MLFLOW_TRACKING_URI``; None if nothing was.
        effective_uri: What it became.
        tracking_uri: What MLflow's client is told, in ``MLFLOW_TRACKING_URI``.
        fallback_reason: Why the two differ: ``"non_file_scheme"`` or ``"non_local_host"``; None if they do not.
        allow_remote_flag: The text of the variable that allows or forbids what is elsewhere; None if neither is set.
        allow_remote: Whether it allows it.
        system_metrics_enabled: Whether MLflow's client samples the machine (``MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING``).
    """

    requested_uri: str | None
    effective_uri: str
    tracking_uri: str
    fallback_reason: str | None
    allow_remote_flag: str | None
    allow_remote: bool
    system_metrics_enabled: bool


class _Memory:
    """What this process has decided."""

    # For the next `init`.
    decision: Decision | None = None
    # What was set here is not what a user asks for.
    own_uri: str | None = None


def ensure_file_backend(uri: str | os.PathLike[str] | None = None) -> str:
    """Make sure that MLflow's own client writes to this machine.

    Sets ``MLFLOW_TRACKING_URI``, for a folder of files ``MLFLOW_ALLOW_FILE_STORE=true``, and the variables that keep
    MLflow from reporting its use, in this process and for those that it starts. The next `init` writes what was decided
    into ``tracking_summary.ndjson``.

    Args:
        uri: Where to: a path or a ``file:`` URI of a folder, a ``sqlite:`` URI, or None for what
            ``MLFLOW_TRACKING_URI`` says, else ``CODEX_MLFLOW_LOCAL_DIR``, else ``artifacts/mlruns`` in the working
            directory.

    Returns:
        The URI in force: ``file:///abs/path`` of a folder that exists and has experiment 0, a ``sqlite:`` URI as it was
        given, or one that is elsewhere and allowed.

    Raises:
        SettingError: If a folder cannot be made.
    """
    return _decide(_asked(uri), tracking.folder_uri(str(_folder(None))))


def bootstrap_offline_tracking(
    root: str | os.PathLike[str] | None = None, *, experiment: str = "codex", requested_uri: str | None = None
) -> Decision:
    """Make a store on this machine ready for MLflow's own client: ``mlflow.start_run`` writes to it from then on.

    Args:
        root: Folder of the store: a database ``mlflow.db`` in it, or the files that lie there already. Default:
            ``CODEX_MLFLOW_LOCAL_DIR``, else ``artifacts/mlruns`` in the working directory.
        experiment: The experiment for runs, which is made if there is none.
        requested_uri: Another store, which is used if it is on this machine or if what is elsewhere is allowed.
            Default: ``MLFLOW_TRACKING_URI``.

    Returns:
        What was decided. The next `init` writes it into ``tracking_summary.ndjson``.

    Raises:
        SettingError: If a folder cannot be made, MLflow's package is missing, or it cannot use the store.
    """
    folder = _folder(root)
    has_files = tracking.holds_files(str(folder)) and not (folder / _DATABASE).exists()
    fallback = tracking.folder_uri(str(folder)) if has_files else tracking.database_uri(str(folder / _DATABASE))
    uri = _decide(_asked(requested_uri), fallback)
    if _is_local(uri):
        _make_ready(uri, experiment)
    assert _Memory.decision is not None  # noqa: S101 - it was made just now
    return _Memory.decision


def _decide(requested: str | None, fallback: str) -> str:
    """Choose, prepare the place, tell MLflow, and give the URI."""
    said = environment.of_guard()
    flag, allow_remote = _allowance(said)
    reason = None if requested is None or allow_remote else _reason(requested)
    uri = fallback if requested is None or reason is not None else _canonical(requested)
    _prepare(uri)
    _set(uri)
    _Memory.own_uri = uri
    _Memory.decision = decision = Decision(
        requested_uri=None if requested is None else hidden_user_info(requested),
        effective_uri=hidden_user_info(uri),
        tracking_uri=hidden_user_info(environment.of_guard()[variables.GUARD_URI]),
        fallback_reason=reason,
        allow_remote_flag=flag,
        allow_remote=allow_remote,
        system_metrics_enabled=_is_on(said.get(variables.GUARD_SAMPLES)),
    )
    if tracking.is_hidden_from_mlflow(uri):
        _logger.warning(
            "codex_obs: MLflow from 3.17 finds no run in %s, since its path has a folder called artifacts: set %s, "
            "or call bootstrap_offline_tracking, which makes a database",
            visible(decision.effective_uri),
            variables.GUARD_FOLDER,
        )
    if reason is None:
        _logger.info("codex_obs: MLflow writes to %s", visible(decision.effective_uri))
    else:
        _logger.warning(
            "codex_obs: MLflow writes to %s, not to %s (%s); %s=1 allows that",
            visible(decision.effective_uri),
            visible(decision.requested_uri or ""),
            reason,
            variables.GUARD_ALLOWS[0],
        )
    return uri


def _asked(uri: str | os.PathLike[str] | None) -> str | None:
    """Return what was asked for, by an argument or the environment."""
    if uri is not None and (text := os.fspath(uri).strip()):
        return text
    named = environment.of_guard().get(variables.GUARD_URI, "").strip()
    return None if named in {"", _Memory.own_uri} else named


def _folder(root: str | os.PathLike[str] | None) -> Path:
    """Return the folder that is used where nothing is asked for, absolute."""
    named = os.fspath(root) if root is not None else environment.of_guard().get(variables.GUARD_FOLDER) or _FOLDER
    if tracking.scheme_of(named) not in {"", tracking.FILE} or tracking.is_elsewhere(named) or "\0" in named:
        where = variables.GUARD_FOLDER if root is None else "root"
        raise SettingError(f"{where} cannot be used: give the path of a folder on this machine")
    return Path(tracking.path_of(tracking.canonical(named)))


def _is_local(uri: str) -> bool:
    return tracking.scheme_of(uri).partition("+")[0] in {
        "",
        tracking.SQLITE,
        tracking.FILE,
    } and not tracking.is_elsewhere(uri)


def _reason(requested: str) -> str | None:
    """Say why what was asked for is not used."""
    if tracking.is_elsewhere(requested):
        return "non_local_host"
    return None if _is_local(requested) else "non_file_scheme"


def _canonical(uri: str) -> str:
    return tracking.canonical(uri) if tracking.scheme_of(uri) in {"", tracking.FILE} and _is_local(uri) else uri


def _allowance(said: Mapping[str, str]) -> tuple[str | None, bool]:
    """Return the text of the variable that allows what is elsewhere, else of the first that is set; and whether."""
    texts = [said[name] for name in variables.GUARD_ALLOWS if name in said]
    allowing = next((text for text in texts if _is_on(text)), None)
    return allowing if allowing is not None else next(iter(texts), None), allowing is not None


def _is_on(text: str | None) -> bool:
    return text is not None and text.strip().lower() in _ON


def _prepare(uri: str) -> None:
    if not _is_local(uri):
        return
    path = Path(tracking.path_of(uri))
    try:
        if tracking.scheme_of(uri) == tracking.FILE:
            mlflow_store.prepare_folder(path)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:
        raise SettingError(f"MLflow's data cannot be in {path}: {error}") from error


def _set(uri: str) -> None:
    """Tell MLflow, whether it is imported by now or not."""
    environment.propose(mlflow_store.QUIET)
    environment.tell({variables.GUARD_URI: uri})
    if tracking.scheme_of(uri) == tracking.FILE:
        environment.tell(mlflow_store.ALLOW_FILES)
    mlflow = sys.modules.get("mlflow")
    if mlflow is not None:
        # What a program has set there wins over the variable.
        mlflow.set_tracking_uri(uri)


def _make_ready(uri: str, experiment: str) -> None:
    mlflow_store.require_packages(uri)
    store = mlflow_store.opened(uri)
    import mlflow  # noqa: PLC0415 - slow, and only what this function is for needs it

    try:
        if store.get_experiment_by_name(experiment) is None:
            store.create_experiment(experiment, None, [])
        mlflow.set_tracking_uri(uri)
        # MLflow notes it where destinations of ours look for theirs, which may be of another server.
        with environment.unchanged(_EXPERIMENT):
            mlflow.set_experiment(experiment)
    except mlflow.MlflowException as error:
        raise SettingError(f"MLflow cannot use the experiment {experiment!r} of {uri}: {error}") from error


def taken() -> tuple[str, str, dict[str, object]] | None:
    """Give status, reason and facts of the decision that no run has on record yet, once; for `init`."""
    decision, _Memory.decision = _Memory.decision, None
    if decision is None:
        return None
    status = "enabled" if decision.fallback_reason is None else "degraded"
    reason = decision.fallback_reason or "local_store"
    return status, f"mlflow:{reason}", extra(asdict(decision), {})
