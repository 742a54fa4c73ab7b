"""Dashboard lines: the text of each, what is shown, and that the log does not depend on it."""

from __future__ import annotations

import io
import math
import os
import pty
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import codex_obs
from codex_obs._console import number
from codex_obs.testing import open_run
from terminal import everything_shown

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

FIELDS: dict[str, Any] = {"timesteps": 2048, "policy_version": 3, "global_grad_norm": 1.25, "my_loss": 1e-5}


@pytest.fixture(autouse=True)
def _no_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RUST_LOG", "RUST_RL_METRIC_LABELS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (0.0, "0"),
        (-0.0, "0"),
        (1e-3, "0.001000"),
        (-1e-3, "-0.001000"),
        (math.nextafter(1e-3, 0), "1.000000e-03"),
        (9.99e-4, "9.990000e-04"),
        (0.5, "0.500000"),
        (10, "10.000000"),
        (9999.5, "9999.500000"),
        (1e4, "1.000000e+04"),
        (-123456.789, "-1.234568e+05"),
        (5e-324, "4.940656e-324"),
        (10**400, "Infinity"),
        (-(10**400), "-Infinity"),
        (math.nan, "NaN"),
        (-math.inf, "-Infinity"),
        (np.float32(0.25), "0.250000"),
        (np.array([[2.0]]), "2.000000"),
        (np.array([1, 2]), "[1 2]"),
        (np.True_, "True"),
        (True, "True"),
        ("fine", "fine"),
        ("a\x1b[31mb\nc", "a\\x1b[31mb\\nc"),
        ([1, 2], "[1, 2]"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_a_value_is_shown_with_six_digits_after_the_point(value: object, text: str) -> None:
    assert number("x", value) == text


def lines(run_dir: Path, capsys: pytest.CaptureFixture[str], config: Mapping[str, object] | None = None) -> list[str]:
    """Log an event of each kind, and give the lines on standard error."""
    with open_run(run_dir, console=True, config=config) as run:
        run.event("TRAIN", **FIELDS)
        run.event("actor", "an episode", mean_return=20.5, gone=None)
        run.event("EVAL", phase="eval")
        run.event("Misc", level="debug", steps_per_second=0)
        run.event("checkpoint", "saved", path="step.pt")
        run.event("cubecl_cuda::context", "context of device 0")
        run.log({"loss": 1.0})
    # Whatever is shown, all of it is logged.
    assert codex_obs.read(run_dir).height == 8
    return capsys.readouterr().err.splitlines()


TRAINER = "TRAINER - Timesteps: 2048 | Policy version: 3 | Grad norm: 1.250000 | My Loss: 1.000000e-05"
ACTOR = "ACTOR - an episode | Mean return: 20.500000"
EVALUATOR = "EVALUATOR - Phase: eval"
MISC = "MISC - Level: debug | Steps per second: 0"
CHECKPOINT = "MISC - saved | Path: step.pt"
CUDA = "MISC - context of device 0"
INFO = [TRAINER, ACTOR, EVALUATOR, CHECKPOINT]


def test_events_are_lines_of_label_and_values(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert lines(run_dir, capsys) == INFO


@pytest.mark.parametrize("variable", ["CODEX_OBS_LOG", "RUST_LOG"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("info", [*INFO, CUDA]),
        ("debug", [TRAINER, ACTOR, EVALUATOR, MISC, CHECKPOINT, CUDA]),
        ("WARN", []),
        ("off", []),
        ("trainer=off,info", [ACTOR, EVALUATOR, CHECKPOINT, CUDA]),
        ("evaluator=info", [EVALUATOR]),
        (" actor = trace , off ", [ACTOR]),
        ("cubecl_cuda=off,info", INFO),
        ("misc=debug,error", [MISC]),
    ],
)
def test_what_is_shown_is_chosen_by_directives(  # noqa: PLR0917
    variable: str,
    text: str,
    shown: list[str],
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(variable, text)
    assert lines(run_dir, capsys) == shown


@pytest.mark.parametrize(
    ("logging", "shown"),
    [
        ({"log_level": "debug"}, [TRAINER, ACTOR, EVALUATOR, MISC, CHECKPOINT]),
        ({"backend_logs_visible": True}, [*INFO, CUDA]),
        ({"log_level": "warn"}, []),
        ({"log_level": "loud", "backend_logs_visible": False}, INFO),
        ("debug", INFO),
        (None, INFO),
    ],
)
def test_else_the_configuration_says_it(
    logging: object, shown: list[str], run_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert lines(run_dir, capsys, {"logging": logging}) == shown


@pytest.mark.parametrize("text", ["loud", "trainer=", "=info", "a=b=c", ","])
def test_directives_that_cannot_be_read_give_way_to_the_configuration_with_a_warning(
    text: str,
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("CODEX_OBS_LOG", text)
    assert lines(run_dir, capsys, {"logging": {"log_level": "warn"}}) == []
    assert f"CODEX_OBS_LOG={text!r} is not used" in caplog.text


@pytest.mark.parametrize("variable", ["CODEX_OBS_METRIC_LABELS", "RUST_RL_METRIC_LABELS"])
def test_labels_may_be_chosen(
    variable: str,
    run_dir: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv(variable, "global_grad_norm=Norm, my_loss = A = b ,wrong,=x")
    assert (
        lines(run_dir, capsys)[0]
        == "TRAINER - Timesteps: 2048 | Policy version: 3 | Norm: 1.250000 | A = b: 1.000000e-05"
    )
    assert [f"{variable}: {word!r} is no label" in caplog.text for word in ("wrong", "=x")] == [True, True]


@pytest.mark.parametrize(("text", "count"), [("1", 1), ("on", 1), ("0", 0), (None, 0)])
def test_the_environment_switches_lines_on_and_module_level_events_have_them(
    text: str | None, count: int, run_dir: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    if text is not None:
        monkeypatch.setenv("CODEX_OBS_CONSOLE", text)
    with codex_obs.init(run_dir) as run:
        codex_obs.event("TRAINER", loss=1)
    assert len(capsys.readouterr().err.splitlines()) == count
    # Without lines, an event is the extension's own call.
    assert ("event" in vars(run)) == bool(count)


def test_another_rank_shows_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run(run_dir, console=True, rank=1) as run:
        run.event("TRAINER", loss=1)
    assert capsys.readouterr().err == ""


class Closed(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


class Stubborn:
    def __float__(self) -> float:
        raise LookupError

    def __str__(self) -> str:
        raise LookupError


@pytest.mark.parametrize("stream", [None, Closed()], ids=["None", "closed"])
def test_standard_error_that_is_gone_costs_no_row(
    stream: object, run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_run(run_dir, console=True) as run:
        monkeypatch.setattr(sys, "stderr", stream)
        run.event("TRAINER", loss=1)
        monkeypatch.undo()
    assert codex_obs.read(run_dir).height == 1


def test_a_value_that_cannot_be_read_is_named_by_its_type(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run(run_dir, console=True) as run:
        run.event("TRAINER", loss=Stubborn())
    assert capsys.readouterr().err == "TRAINER - Loss: <Stubborn>\n"


def test_an_event_that_is_refused_shows_nothing(run_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with open_run(run_dir, console=True) as run, pytest.raises(TypeError):
        run.event("TRAINER", timesteps="many")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)]
)
def test_the_category_has_a_colour_on_a_terminal(environment: dict[str, str], coloured: bool, run_dir: Path) -> None:  # noqa: FBT001
    program = f"import codex_obs; codex_obs.init({str(run_dir)!r}, console=True).event('EVAL', mean_return=1)"
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-c", program], stderr=theirs, env={**os.environ, "TERM": "xterm", **environment}
    ) as process:
        os.close(theirs)
        shown = everything_shown(ours)
        assert process.wait(60) == 0
    os.close(ours)
    label = b"\x1b[32mEVALUATOR\x1b[0m" if coloured else b"EVALUATOR"
    assert shown == label + b" - Mean return: 1.000000\r\n"
