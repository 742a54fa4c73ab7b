"""Where a run's metrics go beside its files, for the engine."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from codex_obs import _backend
from codex_obs._settings import environment, tracking
from codex_obs._settings.addresses import without_user_info
from codex_obs.destinations.otlp import read as read_otlp

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from codex_obs._settings.settings import Settings
    from codex_obs.destinations.otlp import Otlp

_spans_target: Otlp | None = None


def destinations(settings: Settings) -> list[_backend.Destination]:
    """Give every destination of the settings that is delivered to in the training process. Nothing is sent.

    Raises:
        SettingError: If one of them cannot be used.
    """
    found = [None if is_store(settings.mlflow_tracking_uri) else mlflow(settings)]
    if settings.tensorboard is not False:
        found.append(tensorboard(settings))
    if settings.wandb == "offline" and not environment.wandb_is_disabled():
        found.append(wandb(settings))
    found.append(otlp(settings, spans_target()))
    handed = [one for one in found if one is not None]
    if handed:
        # What is not delivered is said as late as at the interpreter's end, when nothing can be imported any more.
        from codex_obs import _problems  # noqa: F401, PLC0415 - only where there is something to deliver
    return handed


# As `codex-ndjson sync`. Importing MLflow and making a database takes minutes on a busy machine.
_PATIENCE_S = 60.0
_STORE_PATIENCE_S = 300.0


class Beside(NamedTuple):
    """What the process beside the trainer delivers to.

    Attributes:
        name: The destination.
        make: Makes it, which imports the package that it needs.
        arguments: Those with which `codex-ndjson sync` delivers to it.
        patience_s: What makes no progress for so long after the end of the run is left to that command.
    """

    name: str
    make: Callable[[], _backend.Destination]
    arguments: str
    patience_s: float = _PATIENCE_S


def beside(settings: Settings) -> list[Beside]:
    """Give every destination of the settings that needs a process of its own. Nothing is imported.

    Raises:
        SettingError: If a package is missing that one needs, or that has it.
    """
    ranks = " --export-ranks all" if settings.export_ranks == "all" else ""
    if settings.destinations:
        from codex_obs.destinations import registry  # noqa: PLC0415 - looks through every installed package

        for name in settings.destinations:
            registry.require(name)
    found = [Beside(name, partial(plugin, name, settings), f"--to {name}{ranks}") for name in settings.destinations]
    uri = settings.mlflow_tracking_uri
    if uri is not None and is_store(uri):
        from codex_obs.destinations import mlflow_store  # noqa: PLC0415 - what it imports is needed for a store only

        mlflow_store.require_packages(uri)
        arguments = f"{_mlflow_arguments(uri, settings)}{ranks}"
        found.append(Beside("mlflow", partial(_server, settings), arguments, _STORE_PATIENCE_S))
    if settings.wandb == "online" and not environment.wandb_is_disabled():
        from codex_obs.destinations import wandb_online as online  # noqa: PLC0415 - only those who deliver need it

        online.require_package()
        found.append(Beside("wandb", partial(wandb_online, settings), f"--to wandb --wandb-mode online{ranks}"))
    return found


class Place(NamedTuple):
    """Where artifacts go.

    Attributes:
        name: ``"mlflow"`` or ``"wandb"``.
        arguments: Those with which `codex-ndjson sync` delivers there.
    """

    name: str
    arguments: str


def artifact_places(settings: Settings) -> list[Place]:
    """Give every destination of the settings that has artifacts. Nothing is imported."""
    uri = settings.mlflow_tracking_uri
    found = [] if uri is None else [Place("mlflow", _mlflow_arguments(without_user_info(uri), settings))]
    if settings.wandb == "online" and not environment.wandb_is_disabled():
        found.append(Place("wandb", "--to wandb --wandb-mode online"))
    return found


def _server(settings: Settings) -> _backend.Destination:
    server = mlflow(settings)
    assert server is not None  # noqa: S101 - the settings have an address
    return server


def _mlflow_arguments(uri: str, settings: Settings) -> str:
    """Give the arguments with which `codex-ndjson sync` delivers to the same MLflow run."""
    from shlex import quote  # noqa: PLC0415 - rarely needed

    named = {"--run-id": settings.mlflow_run_id, "--experiment-name": settings.mlflow_experiment_name}
    if settings.mlflow_experiment_name is None and settings.mlflow_experiment_id != "0":
        named["--experiment-id"] = settings.mlflow_experiment_id
    options = "".join(f" {option} {quote(value)}" for option, value in named.items() if value is not None)
    return f"--to mlflow --uri {quote(uri)}{options}"


def mlflow(settings: Settings, *, new_run: str | None = None) -> _backend.Destination | None:
    """Give the MLflow server or store of the settings, or None if nothing is exported. Nothing is sent or opened.

    Args:
        settings: Where it is, and how metrics go there.
        new_run: With a mark, which differs each time, a new MLflow run is made, whatever there is.

    Raises:
        SettingError: If the address, or what the environment says of the way there, cannot be used, or a package is
            missing that a store needs.
    """
    uri = settings.mlflow_tracking_uri
    if uri is None:
        return None
    try:
        return _backend.Destination.mlflow(
            uri,
            environment=environment.of_servers(),
            run_id=settings.mlflow_run_id,
            new_run=new_run,
            experiment_id=settings.mlflow_experiment_id,
            experiment_name=settings.mlflow_experiment_name,
            ranks=settings.export_ranks,
            interval_s=settings.export_interval_s,
            flush_metrics=settings.export_flush_metrics,
            request_metrics=settings.export_request_metrics,
            request_bytes=settings.export_request_bytes,
            timeout_s=settings.export_timeout_s,
            store=_store(uri) if is_store(uri) else None,
        )
    except _backend.CoreError as error:
        raise _backend.public_error(error) from None


def is_store(uri: str | None) -> bool:
    """Return whether a tracking URI names a store on this machine, which a process beside the trainer writes."""
    return tracking.is_store(uri)


def _store(uri: str) -> Callable[[str, str, bytes], tuple[int, bytes]]:
    from codex_obs.destinations import mlflow_store  # noqa: PLC0415 - what it imports is needed for a store only

    mlflow_store.require_packages(uri)
    return mlflow_store.Store(uri)


def tensorboard(settings: Settings, folder: Path | None = None) -> _backend.Destination:
    """Give the event files of TensorBoard, in `folder`, else where the settings say, else in the run directory."""
    named = settings.tensorboard if isinstance(settings.tensorboard, str) else None
    return _backend.Destination.tensorboard(
        named if folder is None else folder, ranks=settings.export_ranks, interval_s=settings.export_interval_s
    )


def wandb(settings: Settings) -> _backend.Destination:
    """Give the offline runs of W&B in the run directory."""
    return _backend.Destination.wandb(
        environment=environment.of_wandb(), ranks=settings.export_ranks, interval_s=settings.export_interval_s
    )


def otlp(settings: Settings, target: Otlp, *, known_at: Path | None = None) -> _backend.Destination | None:
    """Give the collector of spans, or None if they go to none. Nothing is sent.

    Args:
        settings: How long a request may take, and where the run's MLflow server is.
        target: Where spans go.
        known_at: A run directory: an MLflow server that its ``run.json`` names is the run's, too.

    Raises:
        SettingError: If the address, a header or a certificate cannot be used.
    """
    if not target.is_enabled or target.endpoint is None:
        return None
    _backend.emit_warnings(target.remarks)
    certificate, key, authorities = target.certificates
    try:
        tracking_uri = None if is_store(settings.mlflow_tracking_uri) else settings.mlflow_tracking_uri
        if tracking_uri is None and known_at is not None and not target.is_whole:
            server = _backend.Destination.mlflow(target.endpoint, environment=environment.of_servers())
            tracking_uri = target.endpoint if _backend.known_run(str(known_at), server) is not None else None
        return _backend.Destination.otlp(
            target.endpoint,
            is_whole=target.is_whole,
            headers=target.headers,
            certificates=(certificate, key, authorities),
            resource=target.resource,
            environment=environment.of_servers(),
            mlflow=tracking_uri,
            experiment_id=settings.mlflow_experiment_id,
            experiment_name=settings.mlflow_experiment_name,
            # A delivery by itself makes no run there.
            has_metrics=tracking_uri is not None and known_at is None,
            interval_s=settings.export_interval_s,
            timeout_s=target.timeout_s or settings.export_timeout_s,
        )
    except _backend.CoreError as error:
        public = _backend.public_error(error)
        raise type(public)(str(public).replace("otlp_endpoint", target.named_by, 1)) from None


def send_spans_to(target: Otlp) -> None:
    """Have the spans of runs that are opened from now on go there, whatever the environment says."""
    global _spans_target  # noqa: PLW0603 - of the process, as the environment is
    _spans_target = target


def spans_target() -> Otlp:
    """Give where spans go: where they were sent last, else where the environment says.

    Raises:
        SettingError: If a variable cannot be used.
    """
    return _spans_target or read_otlp(environment.of_otlp())


def wandb_online(settings: Settings) -> _backend.Destination:
    """Give the online runs of W&B. Its package is imported once they are delivered to."""
    from codex_obs.destinations.wandb_online import Online  # noqa: PLC0415 - only those who deliver need it

    return _backend.Destination.wandb_online(
        Online,
        environment=environment.of_wandb(),
        ranks=settings.export_ranks,
        interval_s=settings.export_interval_s,
    )


def plugin(name: str, settings: Settings) -> _backend.Destination:
    """Give the plugin of a name. It is imported, and made once it is delivered to.

    Raises:
        SettingError: If there is none, or it cannot be imported.
    """
    from codex_obs.destinations import registry  # noqa: PLC0415 - looks through every installed package

    return _backend.Destination.plugin(
        name,
        registry.plugin(name),
        ranks=settings.export_ranks,
        interval_s=settings.export_interval_s,
        flush_metrics=settings.export_flush_metrics,
    )
