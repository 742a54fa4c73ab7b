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

from codex_obs._settings.tracking import in_run, is_store
from codex_obs.commands._command import EXIT_INCOMPLETE, EXIT_USAGE, JsonOption, fail, say, visible
from codex_obs.errors import CodexObsError
from codex_obs.flags import Tracking  # noqa: TC001 - typer looks at it

if TYPE_CHECKING:
    from collections.abc import Iterator

    from codex_obs.commands._digits import Epoch

# Of what is not written to a terminal.
_WIDTH = 80
_RUNS = "runs"
_DEFAULT_RUN = "demo"


def demo(
    run: Annotated[
        Path | None,
        typer.Argument(metavar="RUN", help="Run directory. A run of the demo there is resumed. Default: runs/demo."),
    ] = None,
    *,
    run_dir: Annotated[Path | None, typer.Option("--run-dir", "--input", metavar="RUN", help="The same.")] = None,
    epochs: Annotated[int | None, typer.Option(min=1, metavar="N", help="Passes over the images. Default: 20.")] = None,
    as_json: JsonOption = False,
    tracking: Tracking,
) -> None:
    """Train a small classifier on handwritten digits and show the summary of its run."""
    try:
        from codex_obs.commands import _digits  # noqa: PLC0415 - needs packages that the base install has not
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in {"numpy", "sklearn"}:
            raise
        fail(f"The demo needs {error.name}: {_remedy()}", EXIT_INCOMPLETE)
    from codex_obs import reading  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs.commands import _output  # noqa: PLC0415 - loads the extension, which --help does not need
    from codex_obs.commands._table import to_table  # noqa: PLC0415 - loaded on first use

    folder = run or run_dir or _folder(tracking.get("name", _DEFAULT_RUN))
    hyperparameters = _digits.Hyperparameters() if epochs is None else _digits.Hyperparameters(epochs=epochs)
    table = folder / "metrics_summary.parquet"
    if (folder / _digits.CHECKPOINT_NAME).exists():
        say(f"{visible(folder)} is resumed from its checkpoint.")
    try:
        _digits.train(
            folder,
            hyperparameters,
            _show_progress if sys.stderr.isatty() else lambda _epoch: None,
            tracking,
        )
        summary = reading.summarize(folder)
        _output.write_whole(table, _output.to_parquet(summary), file_mode=0o600)
    except (_digits.DemoError, CodexObsError, _output.OutputError) as error:
        fail(str(error), EXIT_INCOMPLETE)

    if as_json:
        sys.stdout.write(_output.to_json(summary).decode())
        return
    shards = len(list(folder.glob("metrics.ndjson*")))
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    typer.echo(to_table(summary, width=width))
    typer.echo("\n".join([*_sparklines(folder, width or _WIDTH), ""]))
    typer.echo(f"Wrote {visible(table)} ({summary.height} rows)")
    say(_what_next(visible(folder), shards))
    for line in _how_to_look(folder, tracking):
        say(f"  {line}")


def _folder(name: str) -> Path:
    from codex_obs import _names  # noqa: PLC0415 - loads the extension, which --help does not need

    try:
        return Path(_RUNS, _names.folder_name(name, origin="--run-name"))
    except CodexObsError as error:
        fail(str(error), EXIT_USAGE)


def _how_to_look(folder: Path, tracking: Tracking) -> Iterator[str]:
    """Give a command for each destination, as a shell reads it."""
    if tracking.get("tensorboard"):
        yield f"tensorboard --logdir {shlex.quote(visible(folder / 'tensorboard'))}   # pip install tensorboard"
    if tracking.get("wandb") == "offline":
        yield f"wandb sync {shlex.quote(visible(folder / 'wandb'))}/offline-run-*   # pip install wandb; uploads it"
    uri = in_run(tracking.get("mlflow_tracking_uri"), str(folder.absolute()))
    if is_store(uri):
        yield f"mlflow ui --backend-store-uri {shlex.quote(visible(uri))}   # pip install mlflow; charts in a browser"
    samples = tracking.get("system_metrics")
    if samples is not None:
        yield f"head -n 4 {shlex.quote(visible(folder / 'system_metrics.jsonl' if samples == 'auto' else samples))}"


def _show_progress(epoch: Epoch) -> None:
    say(f"epoch {epoch.number:3}   loss {epoch.loss:.4f}   accuracy on test images {epoch.accuracy:.4f}")


def _sparklines(folder: Path, width: int) -> list[str]:
    """Draw each metric's curve in one line, between its first and its last step."""
    from codex_obs import _drawing, _series  # noqa: PLC0415 - loads the extension

    series = _series.Series(folder)
    series.refresh()
    keys = [curve.key for curve in series.names() if curve.kind == "number"]
    names = _drawing.labels(keys)
    indent = max(map(len, names), default=0) + 2
    room = max(width - indent, 1)
    curves = [series.pixels([key], pixels=room)[key] for key in keys]
    return [f"{name:{indent}}{_drawing.sparkline(curve, room)}" for name, curve in zip(names, curves, strict=True)]


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
            f"  {commands}codex-obs view {quoted}   # charts in a browser",
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
