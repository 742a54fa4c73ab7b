"""Which destinations there are: ours, and those of installed packages."""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable
    from importlib.metadata import EntryPoint

GROUP = "codex_obs.destinations"
OURS = ("mlflow", "tensorboard", "wandb", "otlp")


def names() -> list[str]:
    """Give the name of every destination, ours first."""
    return [*OURS, *sorted({found.name for found in entry_points(group=GROUP)} - set(OURS))]


def require(name: str) -> None:
    """Look whether a package has a destination of that name. Nothing is imported.

    Raises:
        SettingError: If there is none, or several.
    """
    _found(name)


def plugin(name: str) -> Callable[[], object]:
    """Import the plugin of a name.

    Raises:
        SettingError: If there is none, or it cannot be imported.
    """
    found = _found(name)
    try:
        loaded: object = found.load()
    except Exception as error:
        line = next(iter(str(error).splitlines()), "")
        raise SettingError(
            f"the destination {name!r} cannot be imported: {type(error).__name__}: {line}; "
            "`codex-obs plugins diagnose` says more"
        ) from error
    if not callable(loaded):
        raise SettingError(f"the destination {name!r} is no class, but {type(loaded).__name__}")
    return loaded


def _found(name: str) -> EntryPoint:
    found = sorted(entry_points(group=GROUP, name=name), key=lambda one: one.value)
    if not found:
        raise SettingError(f"{name!r} is no destination: give {', '.join(names())}, or install the package that has it")
    if len({one.value for one in found}) > 1:
        raise SettingError(f"{len(found)} packages name a destination {name!r}: uninstall all but one")
    return found[0]
