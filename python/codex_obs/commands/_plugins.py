"""Plugins of other packages: which there are, what each kind has to offer, and whether each can be used."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from codex_obs.commands._input import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Method:
    """A method of a protocol.

    Attributes:
        signature: Name and arguments, without ``self``.
        meaning: What it is called for.
        is_required: Whether a plugin without it cannot be used.
    """

    signature: str
    meaning: str
    is_required: bool = True

    @property
    def name(self) -> str:
        """The name alone."""
        return self.signature.partition("(")[0]

    @property
    def arguments(self) -> int:
        """How many arguments it is called with."""
        return len([part for part in self.signature.partition("(")[2].rstrip(")").split(",") if part.strip()])


@dataclass(frozen=True)
class Group:
    """A kind of plugins.

    Attributes:
        name: The entry-point group.
        meaning: What its plugins are for.
        methods: Their protocol.
    """

    name: str
    meaning: str
    methods: Sequence[Method]


GROUPS = (
    Group(
        "codex_obs.destinations",
        "A class that takes the points of a run to another tool and is made without arguments: `codex-ndjson sync RUN "
        "--to NAME` calls it. It raises Later(why, after_s=...) to be called again, Never(why) to refuse; anything "
        "else raised counts as Later. What is delivered twice must be there once.",
        (
            Method("open(run, state)", "Begin: the run's identity, and what the plugin returned last, by stream."),
            Method("points(stream, points)", "Take points; return once they are safe there."),
            Method("params(params)", "Take parameters.", is_required=False),
            Method("values(stream, values)", "Take structured values.", is_required=False),
            Method("spans(stream, spans)", "Take spans.", is_required=False),
            Method("samples(samples)", "Take samples of the machine.", is_required=False),
            Method("finish(status)", "The run has ended: finished, failed or killed.", is_required=False),
        ),
    ),
    Group(
        "codex_obs.samplers",
        "A class that measures something of the machine, made without arguments. Where the machine is sampled, each "
        "sample has its values under `plugins`. It has a thread of its own; one that is late or raises costs no other "
        "value.",
        (Method("sample()", "Measure: a mapping of names to numbers, None for what cannot be had."),),
    ),
    Group(
        "codex_obs.readers",
        "A class that reads logs of another tool, made without arguments. `codex-obs import SOURCE` asks each, in the "
        "order of their names, whether it can read a source that is none of the kinds known here.",
        (
            Method("can_read(path)", "Say whether a path is a log of its kind, without reading much of it."),
            Method(
                "rows(path)",
                "Give its rows one after the other, as mappings with metric, value, step, split, timestamp.",
            ),
        ),
    ),
)
_SHORT = {group.name.rpartition(".")[2]: group for group in GROUPS} | {group.name: group for group in GROUPS}


@dataclass(frozen=True)
class Plugin:
    """A plugin that an installed package names.

    Attributes:
        group: Its entry-point group.
        name: What it is called in settings.
        value: Where it is, as ``module:class``.
        package: The package that it comes with, and its version.
    """

    group: str
    name: str
    value: str
    package: str
    version: str


@dataclass(frozen=True)
class Diagnosis:
    """Whether a plugin can be used; `problem` is empty if it can."""

    plugin: Plugin
    problem: str
    has: Sequence[str]


def groups_of(name: str | None) -> Sequence[Group]:
    """Give the group with a name such as ``destinations``, or all.

    Raises:
        InputError: If there is no such group.
    """
    if name is None:
        return GROUPS
    group = _SHORT.get(name)
    if group is None:
        raise InputError(f"{name} is no group of plugins: give {', '.join(one.name for one in GROUPS)}.")
    return (group,)


def plugins_of(groups: Sequence[Group]) -> list[Plugin]:
    """Give the plugins that installed packages name, without importing anything."""
    return [_plugin(found) for group in groups for found in _found(group)]


def diagnose(groups: Sequence[Group]) -> list[Diagnosis]:
    """Import every plugin and compare it with its protocol. What one of them raises is said, and stops nothing."""
    diagnoses = []
    for group in groups:
        found = _found(group)
        names = [one.name for one in found]
        for one in found:
            problem, has = _problem(one, group)
            if not problem and names.count(one.name) > 1:
                problem = f"{names.count(one.name)} packages name a plugin {one.name}: uninstall all but one"
            diagnoses.append(Diagnosis(_plugin(one), problem, has))
    return diagnoses


def _found(group: Group) -> list[EntryPoint]:
    return sorted(entry_points(group=group.name), key=lambda one: (one.name, one.value))


def _plugin(found: EntryPoint) -> Plugin:
    package, version = "unknown", "unknown"
    if found.dist is not None:
        package, version = found.dist.name, found.dist.version
    return Plugin(found.group, found.name, found.value, package, version)


def _problem(found: EntryPoint, group: Group) -> tuple[str, list[str]]:
    try:
        plugin = found.load()
    except (KeyboardInterrupt, GeneratorExit):
        raise
    except BaseException as error:  # noqa: BLE001 - foreign code, which may even call sys.exit
        return f"importing it raised {type(error).__name__}: {_first_line(error)}", []
    if not inspect.isclass(plugin):
        return f"it is no class, but {type(plugin).__name__}", []
    has = [method.name for method in group.methods if callable(getattr(plugin, method.name, None))]
    missing = [method.signature for method in group.methods if method.is_required and method.name not in has]
    if missing:
        return f"it has no {' and no '.join(missing)}", has
    if not _takes(plugin, 0):
        return "it cannot be made without arguments", has
    for method in group.methods:
        # An instance's method has one argument less than the class's function, unless it is static or of the class.
        if method.name in has and not _takes(plugin, method.arguments, method.name):
            return f"{method.name} does not take the arguments of {method.signature}", has
    return "", has


def _takes(plugin: type, count: int, name: str | None = None) -> bool:
    """Whether a class, or a method of it, can be called with so many arguments; True if that cannot be told."""
    target = plugin
    arguments = [None] * count
    if name is not None:
        target = getattr(plugin, name)
        is_plain = inspect.isfunction(inspect.getattr_static(plugin, name, None))
        arguments = [None] * (count + is_plain)
    try:
        inspect.signature(target).bind(*arguments)
    except ValueError:
        return True  # of native code
    except TypeError:
        return False
    return True


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), "") or "without a word"
