"""The command ``demo``: something to look at."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from codex_obs._command import EXIT_INCOMPLETE, JsonOption, fail, say, visible
from codex_obs.errors import CodexObsError

if TYPE_CHECKING:
    from codex_obs.demo import Epoch

_DEFAULT_RUN_DIR = Path("runs", "demo")


def demo(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run directory. A run of the demo there is resumed. Default: runs/demo."),
    ] = None,
    *,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", "--input", metavar="RUN", help="The same.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the images. Default: 20.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Train a small classifier on handwritten digits and show the summary of its run."""
    try:
        from codex_obs import demo as digits  # noqa: PLC0415 - needs packages that the base install has not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"numpy", "sklearn"}:
            raise
        fail(f"The demo needs {error.name}: {_remedy()}", EXIT_INCOMPLETE)
    from codex_obs import _output, reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs._table import to_table  # noqa: PLC0415 - loaded on first use

    folder = run or run_dir or _DEFAULT_RUN_DIR
    hyperparameters = digits.Hyperparameters() if epochs is None else digits.Hyperparameters(epochs=epochs)
    table = folder / "metrics_summary.parquet"
    if (folder / digits.CHECKPOINT_NAME).exists():
        say(f"{visible(folder)} is resumed from its checkpoint.")
    try:
        digits.train(folder, hyperparameters, _show_progress if sys.stderr.isatty() else lambda _epoch: None)
        summary = reading.summarize(folder)
        _output.write_whole(table, _output.to_parquet(summary), file_mode=0o600)
    except (digits.DemoError, CodexObsError, _output.OutputError) as error:
        fail(str(error), EXIT_INCOMPLETE)

    if as_json:
        sys.stdout.write(_output.to_json(summary).decode())
        return
    shards = len(list(folder.glob("metrics.ndjson*")))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo(to_table(summary, width=width))
    typer.echo(f"Wrote {visible(table)} ({summary.height} rows)")
    say(_what_next(visible(folder), shards))


def _show_progress(epoch: Epoch) -> None:
    say(f"epoch {epoch.number:3}   loss {epoch.loss:.4f}   accuracy on test images {epoch.accuracy:.4f}")


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
            f"  {commands}codex-obs summarize {quoted} --output table",
            f"  {commands}python -c {read}",
            f"  {commands}codex-obs demo {quoted}   # resumes from the checkpoint",
        ]
    )


def _command_folder() -> str:
    """Give what to put before a command of this environment so that it is found: nothing where it is on the path."""
    folder = Path(sysconfig.get_path("scripts"))
    found = shutil.which("codex-ndjson")
    if found is not None and Path(found).parent == folder:
        return ""
    return shlex.quote(f"{os.path.relpath(folder) if folder.is_relative_to(Path.cwd()) else folder}/")


def _remedy() -> str:
    """Say how to install what the demo needs, where this package comes from."""
    source = Path(__file__).parents[3]
    if (source / "pyproject.toml").is_file():
        return f"run make demo in {visible(source)}, or pip install scikit-learn"
    return "pip install scikit-learn"
