"""Samplers of other packages, by the entry points ``codex_obs.samplers``."""

from __future__ import annotations

import math
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Final, Protocol

from codex_obs.system._isolation import Isolated

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

GROUP: Final = "codex_obs.samplers"
# Of a plugin's names and values, more than this are left out: a sample is a line.
_MOST_VALUES: Final = 1000
_MOST_CHARACTERS: Final = 200


class SamplerPlugin(Protocol):
    """What a plugin has: a class that is made without arguments, by a thread that alone calls it."""

    def sample(self) -> Mapping[str, float | None]:
        """Measure. A plugin that takes longer than half a second is late, and its values come with the next sample."""


class Plugins:
    """The plugins of installed packages, each on a thread of its own.

    Args:
        patience_s: How long a sample waits for each.
    """

    def __init__(self, patience_s: float) -> None:
        found = {one.name: one for one in sorted(entry_points(group=GROUP), key=lambda one: (one.name, one.value))}
        self._plugins = {
            name: Isolated(_maker(entry.load), name=f"codex-obs-sampler-{name}", patience_s=patience_s)
            for name, entry in found.items()
        }

    def sample(self, errors: dict[str, str]) -> dict[str, dict[str, float | None]]:
        """Give the values of each plugin; what one raises is an error under its name, and no other's trouble."""
        values: dict[str, dict[str, float | None]] = {}
        for name, plugin in self._plugins.items():
            try:
                values[name] = plugin.ask()
            except Exception as error:  # noqa: BLE001 - foreign code
                errors[f"sampler {name}"] = f"{type(error).__name__}: {error}"
        return values

    def close(self) -> None:
        """Let the threads end."""
        for plugin in self._plugins.values():
            plugin.close()


def _maker(load: Callable[[], Callable[[], SamplerPlugin]]) -> Callable[[], Callable[[], dict[str, float | None]]]:
    def make() -> Callable[[], dict[str, float | None]]:
        plugin = load()()
        return lambda: _checked(plugin.sample())

    return make


def _checked(values: Mapping[str, float | None]) -> dict[str, float | None]:
    checked: dict[str, float | None] = {}
    for name, value in values.items():
        if len(checked) == _MOST_VALUES:
            break
        number = None if value is None else float(value)
        checked[str(name)[:_MOST_CHARACTERS]] = number if number is None or math.isfinite(number) else None
    return checked
