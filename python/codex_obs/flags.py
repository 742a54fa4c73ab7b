"""The same command-line flags for every trainer, with argparse, Typer or Hydra: what a run does besides its files.

With argparse::

    parser = argparse.ArgumentParser()
    flags.add_to(parser)
    with codex_obs.init(**flags.settings(parser.parse_args())) as run: ...

With Typer, whose functions take what the flags say as ``tracking``::

    @flags.command(app)
    def train(tracking: flags.Tracking, lr: float = 1e-3) -> None:
        with codex_obs.init(config={"lr": lr}, **tracking) as run: ...

With Hydra, which knows no flags of others, before ``hydra.main``::

    TRACKING = flags.take_out(sys.argv)
"""

from __future__ import annotations

import argparse
import functools
import inspect
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal, TypedDict, get_type_hints

from codex_obs._settings import environment, tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import typer

    from codex_obs.types import Wandb

__all__ = ["FLAGS", "Flag", "Tracking", "add_to", "command", "settings", "take_out"]

_AUTO = "AUTO"


class Tracking(TypedDict, total=False):
    """Keywords of `codex_obs.init`: those that the flags set."""

    name: str
    tensorboard: bool
    wandb: Wandb
    mlflow_tracking_uri: str
    mlflow_experiment_name: str
    mlflow_run_id: str
    system_metrics: str
    system_metrics_interval_s: float


@dataclass(frozen=True)
class Flag:
    """One flag.

    Attributes:
        names: Its spellings; the first is the usual one.
        kind: What follows it: nothing, a text, a text that may be left out, or a number.
        metavar: What a help page calls that.
        help: What it is for.
    """

    names: tuple[str, ...]
    kind: Literal["switch", "text", "optional", "number"]
    help: str
    metavar: str | None = None

    @property
    def attribute(self) -> str:
        """Its name in a namespace."""
        return self.names[0].removeprefix("--").replace("-", "_")


FLAGS = (
    Flag(("--run-name",), "text", "Name of the run, and of its folder below runs/.", "NAME"),
    Flag(("--enable-tensorboard",), "switch", "Write event files for TensorBoard, too."),
    Flag(("--enable-wandb",), "switch", "Write an offline run of W&B, too; online if WANDB_MODE=online."),
    Flag(
        ("--enable-mlflow", "--mlflow-enable"),
        "switch",
        "Deliver to MLflow, too: to a store in the run directory, unless an address is given.",
    ),
    Flag(
        ("--mlflow-tracking-uri",),
        "text",
        "Address of an MLflow server, or a store such as sqlite:///mlflow.db.",
        "URI",
    ),
    Flag(("--mlflow-experiment",), "text", "Experiment in MLflow, by its name.", "NAME"),
    Flag(("--mlflow-run-id",), "text", "MLflow run to deliver to.", "ID"),
    Flag(
        ("--system-metrics",),
        "optional",
        "Sample the machine into a file of the run directory (AUTO), or into another.",
        "AUTO|PATH",
    ),
    Flag(("--system-metrics-interval",), "number", "Time between two samples, in seconds.", "S"),
)


def add_to(parser: argparse.ArgumentParser) -> None:
    """Add the flags to a parser of argparse."""
    group = parser.add_argument_group("tracking")
    for flag in FLAGS:
        if flag.kind == "switch":
            group.add_argument(*flag.names, dest=flag.attribute, action="store_true", help=flag.help)
        elif flag.kind == "optional":
            group.add_argument(
                *flag.names, dest=flag.attribute, nargs="?", const=_AUTO, metavar=flag.metavar, help=flag.help
            )
        else:
            kind = float if flag.kind == "number" else str
            group.add_argument(*flag.names, dest=flag.attribute, type=kind, metavar=flag.metavar, help=flag.help)


def settings(given: argparse.Namespace | Mapping[str, object]) -> Tracking:
    """Return the keywords of `codex_obs.init` for flags that were parsed.

    Args:
        given: What argparse gave, or a mapping of such names; others in it are not looked at.

    Returns:
        Only what was given: for the rest the environment and the defaults count.
    """
    said = given if not isinstance(given, argparse.Namespace) else vars(given)
    chosen = {flag.attribute: said.get(flag.attribute) for flag in FLAGS}
    uri = chosen["mlflow_tracking_uri"]
    if uri is None and chosen["enable_mlflow"] and not environment.has_mlflow_address():
        uri = tracking.STORE_IN_RUN
    samples = chosen["system_metrics"]
    found = {
        "name": chosen["run_name"],
        "tensorboard": chosen["enable_tensorboard"] or None,
        "wandb": _wandb() if chosen["enable_wandb"] else None,
        "mlflow_tracking_uri": uri,
        "mlflow_experiment_name": chosen["mlflow_experiment"],
        "mlflow_run_id": chosen["mlflow_run_id"],
        "system_metrics": "auto" if isinstance(samples, str) and samples.upper() == _AUTO else samples,
        "system_metrics_interval_s": chosen["system_metrics_interval"],
    }
    result: Tracking = {}
    result.update({name: value for name, value in found.items() if value is not None})  # type: ignore[typeddict-item]
    return result


def take_out(argv: list[str]) -> Tracking:
    """Take the flags out of a program's arguments, so that Hydra, which would refuse them, sees the rest.

    Args:
        argv: The program and its arguments, such as ``sys.argv``: it is changed.

    Returns:
        The keywords of `codex_obs.init`.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_to(parser)
    namespace, rest = parser.parse_known_args(_completed(argv[1:]))
    argv[1:] = rest
    return settings(namespace)


def command(
    app: typer.Typer, name: str | None = None, **options: object
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Return a decorator that adds a function to an application of Typer, together with the flags.

    Args:
        app: The application.
        name: Name of the command; without one that of the function.
        options: Others that ``app.command`` takes.

    Returns:
        The decorator. The function has a parameter ``tracking``, for which it gets the keywords of `codex_obs.init`.
    """
    from typer.core import TyperCommand  # noqa: PLC0415 - only programs that use Typer have it

    class Command(TyperCommand):
        def parse_args(self, ctx: object, args: list[str]) -> list[str]:
            rest: list[str] = super().parse_args(ctx, _completed(args))  # type: ignore[arg-type]
            return rest

    def add(function: Callable[..., None]) -> Callable[..., None]:
        app.command(name, cls=Command, **options)(_with_flags(function))  # type: ignore[arg-type]
        return function

    return add


def _with_flags(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function as Typer is to see it: with a parameter for each flag."""
    import typer  # noqa: PLC0415 - as above

    hints = get_type_hints(function, include_extras=True)
    signature = inspect.signature(function)
    parameters = [
        parameter.replace(annotation=hints.get(parameter.name, parameter.annotation))
        for parameter in signature.parameters.values()
        if parameter.name != "tracking"
    ]
    kinds: dict[str, object] = {"switch": bool, "text": str | None, "optional": str | None, "number": float | None}
    for flag in FLAGS:
        option = typer.Option(*flag.names, help=flag.help, metavar=flag.metavar)
        parameters.append(
            inspect.Parameter(
                flag.attribute,
                inspect.Parameter.KEYWORD_ONLY,
                default=False if flag.kind == "switch" else None,
                annotation=Annotated[kinds[flag.kind], option],
            )
        )

    @functools.wraps(function)
    def wrapped(**given: object) -> None:
        said = {flag.attribute: given.pop(flag.attribute) for flag in FLAGS}
        function(**given, tracking=settings(said))

    wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapped.__annotations__ = {one.name: one.annotation for one in parameters}
    return wrapped


def _completed(arguments: Sequence[str]) -> list[str]:
    """Give a flag whose value may be left out its usual one. What follows is none if it is a flag or has a ``=``."""
    optional = {name for flag in FLAGS if flag.kind == "optional" for name in flag.names}
    completed: list[str] = []
    for index, argument in enumerate(arguments):
        completed.append(argument)
        following = arguments[index + 1] if index + 1 < len(arguments) else "-"
        if argument in optional and (following.startswith("-") or "=" in following):
            completed.append(_AUTO)
    return completed


def _wandb() -> str:
    return "online" if environment.wandb_mode() == "online" else "offline"
