"""The command ``codex-obs``: a demo to look at.

The summary goes to standard output, words to standard error. Exit codes: 0 done; 1 the demo could not be run; 2 wrong
usage.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from codex_obs import _command
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from codex_obs.demo import Epoch

EXIT_FAILED = 1

_DEFAULT_RUN_DIR = Path("runs", "demo")

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings=_command.CONTEXT_SETTINGS,
)


@app.callback()
def _root() -> None:
    """See codex_obs at work."""


@app.command(short_help="Train a small classifier and show its summary.")
def demo(
    *,
    run_dir: Annotated[
        Path, typer.Option(metavar="DIR", help="Run directory. One that the demo made before is continued.")
    ] = _DEFAULT_RUN_DIR,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the images. Default: 20.")] = None,
) -> None:
    """Train a small classifier on handwritten digits and show the summary of its run."""
    try:
        from codex_obs import demo as digits  # noqa: PLC0415 - needs packages that the base install has not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"numpy", "sklearn"}:
            raise
        _fail(f"The demo needs {error.name}, which is not installed: pip install 'codex-obs[demo]'")
    from codex_obs import _output, reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs._table import to_table  # noqa: PLC0415 - loaded on first use
    from codex_obs._visible import visible  # noqa: PLC0415

    hyperparameters = digits.Hyperparameters() if epochs is None else digits.Hyperparameters(epochs=epochs)
    table = run_dir / "metrics_summary.parquet"
    if (run_dir / digits.CHECKPOINT_NAME).exists():
        _say(f"{visible(str(run_dir))} is continued from its checkpoint.")
    try:
        digits.train(run_dir, hyperparameters, _show_progress if sys.stderr.isatty() else lambda _epoch: None)
        summary = reading.summarize(run_dir)
        _output.write_whole(table, _output.to_parquet(summary), file_mode=0o600)
    except (digits.DemoError, CodexObsError, _output.OutputError) as error:
        _fail(visible(str(error)))

    shards = len(list(run_dir.glob("metrics.ndjson*")))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo(to_table(summary, width=width))
    typer.echo(f"Wrote {visible(str(table))} ({summary.height} rows)")
    _say(_what_next(visible(str(run_dir)), shards))


def main() -> None:
    """Run ``codex-obs`` with the process's arguments."""
    _command.run(app)


def _show_progress(epoch: Epoch) -> None:
    _say(f"epoch {epoch.number:3}   loss {epoch.loss:.4f}   accuracy on test images {epoch.accuracy:.4f}")


def _what_next(run_dir: str, shards: int) -> str:
    commands = _command_folder()
    quoted = shlex.quote(run_dir)
    columns = json.dumps(["step", "split", "metric", "value"])
    read = shlex.quote(f"import codex_obs; print(codex_obs.read({json.dumps(run_dir)}).select({columns}))")
    rows = f"The rows are in {run_dir}/metrics.ndjson"
    if shards > 1:
        rows += f" and {shards - 1} rotated shards beside it"
    return "\n".join(
        [
            "",
            f"{rows}. What to type next:",
            f"  head -n 4 {quoted}/metrics.ndjson",
            f"  {commands}codex-ndjson summarize --input {quoted} --output table",
            f"  {commands}python -c {read}",
            f"  {commands}codex-obs demo --run-dir {quoted}   # goes on from the checkpoint",
        ]
    )


def _command_folder() -> str:
    """Give what to put before a command of this environment so that it is found: nothing where it is on the path."""
    folder = Path(sysconfig.get_path("scripts"))
    found = shutil.which("codex-ndjson")
    if found is not None and Path(found).parent == folder:
        return ""
    return shlex.quote(f"{os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else folder}/")


def _say(words: str) -> None:
    typer.echo(words, err=True)


def _fail(sentence: str) -> NoReturn:
    _say(sentence)
    raise typer.Exit(EXIT_FAILED)
