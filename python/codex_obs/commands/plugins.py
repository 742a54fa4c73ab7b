"""The commands ``plugins list``, ``plugins explain`` and ``plugins diagnose``: what other packages add."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs.commands._command import (
    CONTEXT_SETTINGS,
    EXIT_INCOMPLETE,
    EXIT_USAGE,
    JsonOption,
    fail,
    print_json,
    say,
    visible,
)
from codex_obs.commands._folding import fold
from codex_obs.commands._grid import Column, draw
from codex_obs.commands._input import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from codex_obs.commands._plugins import Group

plugins = typer.Typer(no_args_is_help=True, rich_markup_mode=None, context_settings=CONTEXT_SETTINGS)

_GroupArgument = Annotated[
    str | None, typer.Argument(metavar="GROUP", help="destinations, samplers or readers. Default: all.")
]
_DEFAULT_WIDTH = 100


@plugins.command("list")
def list_plugins(group: _GroupArgument = None, *, as_json: JsonOption = False) -> None:
    """List the plugins of installed packages, without importing them."""
    from codex_obs.commands import _plugins  # noqa: PLC0415 - reads what is installed, which --help does not need

    found = _plugins.plugins_of(_groups(group))
    if as_json:
        print_json([dataclasses.asdict(plugin) for plugin in found])
        return
    if not found:
        say("No installed package has a plugin. codex-obs plugins explain says what one is.")
        return
    columns = [
        Column("group", [plugin.group.rpartition(".")[2] for plugin in found]),
        Column("name", [visible(plugin.name) for plugin in found]),
        Column("class", [visible(plugin.value) for plugin in found], rank=1),
        Column("package", [visible(f"{plugin.package} {plugin.version}") for plugin in found], rank=2),
    ]
    typer.echo(draw(columns, width=_width(), remedy="--json shows all"), nl=False)


@plugins.command("explain")
def explain(group: _GroupArgument = None, *, as_json: JsonOption = False) -> None:
    """Say what each group of plugins is for, and which methods one has to have."""
    groups = _groups(group)
    if as_json:
        print_json([dataclasses.asdict(one) for one in groups])
        return
    width = _width() or _DEFAULT_WIDTH
    for index, one in enumerate(groups):
        lines = [] if index == 0 else [""]
        lines += [one.name, *fold(one.meaning, width, at_spaces=True)]
        for method in one.methods:
            words = method.meaning if method.is_required else f"{method.meaning} Optional."
            lines += [f"  {method.signature}", *(f"    {piece}" for piece in fold(words, width - 4, at_spaces=True))]
        short = one.name.rpartition(".")[2]
        lines += [
            "In pyproject.toml:",
            f'  [project.entry-points."{one.name}"]',
            f'  my-{short[:-1]} = "package.module:Class"',
        ]
        typer.echo("\n".join(lines))


@plugins.command("diagnose")
def diagnose(group: _GroupArgument = None, *, as_json: JsonOption = False) -> None:
    """Import the plugins and say for each whether it can be used.

    Exit codes: 0 each can be used; 1 one cannot; 2 there is no such group.
    """
    from codex_obs.commands import _plugins  # noqa: PLC0415 - reads what is installed, which --help does not need

    found = _plugins.diagnose(_groups(group))
    if as_json:
        print_json([{**dataclasses.asdict(one.plugin), "problem": one.problem, "has": one.has} for one in found])
    elif not found:
        say("No installed package has a plugin. codex-obs plugins explain says what one is.")
    else:
        width = _width()
        for one in found:
            where = (
                f"{one.plugin.group.rpartition('.')[2]} {one.plugin.name} ({one.plugin.package} {one.plugin.version})"
            )
            words = visible(f"{where}: {one.problem or 'can be used, has ' + ', '.join(one.has)}")
            typer.echo("\n".join(fold(words, width or len(words) * 2, at_spaces=True)))
    if any(one.problem for one in found):
        raise typer.Exit(EXIT_INCOMPLETE)


def _groups(name: str | None) -> Sequence[Group]:
    from codex_obs.commands import _plugins  # noqa: PLC0415 - reads what is installed, which --help does not need

    try:
        return _plugins.groups_of(name)
    except InputError as error:
        fail(str(error), EXIT_USAGE)


def _width() -> int | None:
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None
