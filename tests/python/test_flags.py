"""The flags of trainers: the same with argparse, Typer and Hydra."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

import pytest
import typer
from typer.testing import CliRunner

import codex_obs
from codex_obs import flags
from codex_obs._settings.tracking import STORE_IN_RUN, in_run

if TYPE_CHECKING:
    from pathlib import Path

CASES: list[tuple[list[str], dict[str, object]]] = [
    ([], {}),
    (["--run-name", "demo"], {"name": "demo"}),
    (["--enable-tensorboard"], {"tensorboard": True}),
    (["--enable-wandb"], {"wandb": "offline"}),
    (["--enable-mlflow"], {"mlflow_tracking_uri": STORE_IN_RUN}),
    (["--mlflow-enable"], {"mlflow_tracking_uri": STORE_IN_RUN}),
    (["--mlflow-tracking-uri", "http://h"], {"mlflow_tracking_uri": "http://h"}),
    (["--enable-mlflow", "--mlflow-tracking-uri=./x"], {"mlflow_tracking_uri": "./x"}),
    (
        ["--enable-mlflow", "--mlflow-experiment", "digits", "--mlflow-run-id", "7"],
        {"mlflow_tracking_uri": STORE_IN_RUN, "mlflow_experiment_name": "digits", "mlflow_run_id": "7"},
    ),
    (["--system-metrics"], {"system_metrics": "auto"}),
    (["--system-metrics", "auto"], {"system_metrics": "auto"}),
    (["--system-metrics=AUTO", "--run-name", "x"], {"system_metrics": "auto", "name": "x"}),
    (["--system-metrics", "--run-name", "x"], {"system_metrics": "auto", "name": "x"}),
    (["--system-metrics", "load.jsonl"], {"system_metrics": "load.jsonl"}),
    (["--system-metrics-interval", "0.5"], {"system_metrics_interval_s": 0.5}),
]


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "CODEX_OBS_MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)


def by_argparse(arguments: list[str]) -> Any:
    parser = argparse.ArgumentParser()
    flags.add_to(parser)
    return flags.settings(parser.parse_args(arguments))


def by_typer(arguments: list[str]) -> Any:
    seen = []
    app = typer.Typer()

    @flags.command(app)
    def train(tracking: flags.Tracking, lr: float = 1e-3) -> None:
        seen.append((dict(tracking), lr))

    done = CliRunner().invoke(app, ["--lr", "0.5", *arguments])
    assert done.exit_code == 0, done.output
    ((tracking, lr),) = seen
    assert lr == 0.5
    return tracking


def by_hydra(arguments: list[str]) -> Any:
    argv = ["train.py", "-m", *arguments, "lr=0.1", "+x@y=z", "--config-name", "big"]
    tracking = flags.take_out(argv)
    assert argv == ["train.py", "-m", "lr=0.1", "+x@y=z", "--config-name", "big"]
    return tracking


@pytest.mark.parametrize("way", [by_argparse, by_typer, by_hydra])
@pytest.mark.parametrize(("arguments", "expected"), CASES, ids=lambda value: " ".join(value) or "none")
def test_a_flag_means_the_same_everywhere(way: Any, arguments: list[str], expected: dict[str, object]) -> None:
    assert way(arguments) == expected


def test_wandb_is_online_only_if_its_own_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    assert by_argparse(["--enable-wandb"]) == {"wandb": "online"}
    assert by_argparse([]) == {}


def test_an_address_in_the_environment_wins_over_the_store_in_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CODEX_OBS_MLFLOW_TRACKING_URI", "http://h")
    assert by_argparse(["--enable-mlflow"]) == {}
    monkeypatch.delenv("CODEX_OBS_MLFLOW_TRACKING_URI")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://h")
    assert by_argparse(["--enable-mlflow"]) == {"mlflow_tracking_uri": STORE_IN_RUN}


def test_a_number_that_is_none_is_refused_by_each(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        by_argparse(["--system-metrics-interval", "often"])
    with pytest.raises(SystemExit):
        flags.take_out(["train.py", "--system-metrics-interval", "often"])
    assert "often" in capsys.readouterr().err


def test_help_names_every_flag() -> None:
    app = typer.Typer(rich_markup_mode=None)

    @flags.command(app)
    def train(tracking: flags.Tracking) -> None:
        """Train."""

    parser = argparse.ArgumentParser()
    flags.add_to(parser)
    for text in (CliRunner().invoke(app, ["--help"], terminal_width=200).output, parser.format_help()):
        assert [name for flag in flags.FLAGS for name in flag.names if name not in text] == []


def test_the_store_in_a_run_is_a_database_unless_files_lie_there(tmp_path: Path) -> None:
    run = str(tmp_path / "a run")
    assert in_run(STORE_IN_RUN, run) == f"sqlite:///{run}/mlruns/mlflow.db"
    assert in_run(codex_obs.Settings(mlflow_tracking_uri=STORE_IN_RUN).mlflow_tracking_uri, run) == (
        f"sqlite:///{run}/mlruns/mlflow.db"
    )
    for given in ("<run>/mlruns", "file://<run>/mlruns", "file:<run>/mlruns"):
        settings = codex_obs.Settings(mlflow_tracking_uri=given)
        assert codex_obs.Settings(mlflow_tracking_uri=settings.mlflow_tracking_uri) == settings
        assert in_run(settings.mlflow_tracking_uri, run) == f"file://{tmp_path}/a%20run/mlruns"
    meta = tmp_path / "a run" / "mlruns" / "0" / "meta.yaml"
    meta.parent.mkdir(parents=True)
    meta.write_text("name: Default\n")
    assert in_run(STORE_IN_RUN, run) == f"file://{tmp_path}/a%20run/mlruns"
