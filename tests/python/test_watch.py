"""``codex-obs watch`` in a real terminal of the usual sizes, and what it knows of a run."""

from __future__ import annotations

import json
import math
import os
import shlex
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs._drawing import labels
from codex_obs._series import Key
from codex_obs.viewers._watched import Watched

pytest.importorskip("textual_plot", reason="needs the extra watch")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from codex_obs import Run

# A terminal program starts within a second on an idle machine.
PATIENCE_S = 120.0
SIZES = [(80, 24), (200, 60)]


class Terminal:
    """A terminal inside of tmux, on a server of its own."""

    def __init__(self, folder: Path, columns: int, lines: int, command: list[str]) -> None:
        self._tmux = ["tmux", "-f", "/dev/null", "-S", str(folder / "tmux")]
        environment = {**os.environ, "LANG": "C.UTF-8", "TERM": "xterm-256color"}
        size = ["-x", str(columns), "-y", str(lines)]
        subprocess.run(
            [*self._tmux, "new-session", "-d", *size, shlex.join(command)],
            check=True,
            env=environment,
            timeout=PATIENCE_S,
        )

    def screen(self) -> list[str]:
        done = subprocess.run(
            [*self._tmux, "capture-pane", "-p"], check=False, capture_output=True, text=True, timeout=PATIENCE_S
        )
        return done.stdout.splitlines()

    def press(self, *keys: str) -> None:
        subprocess.run([*self._tmux, "send-keys", *keys], check=True, timeout=PATIENCE_S)

    def resize(self, columns: int, lines: int) -> None:
        size = ["-x", str(columns), "-y", str(lines)]
        subprocess.run([*self._tmux, "resize-window", *size], check=True, timeout=PATIENCE_S)

    def until(self, holds: Callable[[list[str]], bool]) -> list[str]:
        """Wait until the screen shows something."""
        end = time.monotonic() + PATIENCE_S
        screen = self.screen()
        while not holds(screen):
            assert time.monotonic() < end, "\n".join(screen)
            time.sleep(0.1)
            screen = self.screen()
        return screen

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True, timeout=PATIENCE_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    with codex_obs.init(tmp_path / "watched", name="watched") as run:
        log(run, range(500))
        yield run


def log(run: Run, steps: range) -> None:
    for step in steps:
        run.log({"loss": math.exp(-step / 100), "norm": math.nan if step == 3 else float(step % 7)}, step=step)
        if step % 10 == 0:
            run.log({"accuracy": step / 1000, "matrix": [[1, 2], [3, 4]]}, step=step, split="eval")
    run.flush()


def has(*words: str) -> Callable[[list[str]], bool]:
    return lambda screen: all(any(word in line for line in screen) for word in words)


def dots(screen: list[str]) -> int:
    """How many characters draw curves."""
    return sum("\u2801" <= character <= "\u28ff" for line in screen for character in line)


@pytest.mark.skipif(shutil.which("tmux") is None, reason="needs tmux")
@pytest.mark.parametrize(("columns", "lines"), SIZES)
def test_a_terminal_shows_charts_values_state_and_losses_live(
    run: Run, tmp_path: Path, columns: int, lines: int
) -> None:
    command = [sys.executable, "-m", "codex_obs", "watch", str(run.path), "--every", "0.2"]
    terminal = Terminal(tmp_path, columns, lines, command)
    try:
        shown = has("eval/accuracy  0.49", "train/loss", "nothing is lost", "watched  running")
        screen = terminal.until(lambda screen: shown(screen) and dots(screen) > columns // 4)
        assert len(screen) <= lines
        assert all(len(line) <= columns for line in screen)
        assert has("step 499", "1,100 rows", "q Quit", "x Step or time", "l Log scale")(screen)
        assert any("train/norm" in line and line.rstrip().endswith("1") for line in screen)
        log(run, range(500, 1000))
        terminal.until(has("step 999", "2,200 rows"))
        # The chosen metric alone, over time, on a logarithmic scale.
        terminal.press("Down", "Enter")
        terminal.until(lambda screen: any(line.startswith("─train/loss") for line in screen))
        terminal.press("l")
        terminal.until(lambda screen: has("  log")(screen) and dots(screen) > columns // 4)
        terminal.press("x")
        terminal.until(has("0.0s"))
        terminal.press("Enter")
        terminal.resize(100, 30)
        terminal.until(lambda screen: len(screen) == 30 and has("eval/accuracy  0.99", "nothing is lost")(screen))
        run.finish("failed")
        terminal.until(has("watched  failed"))
        terminal.press("q")
        terminal.until(lambda screen: screen == [])
    finally:
        terminal.close()


def test_a_line_tells_last_extremes_step_and_what_is_not_finite(run: Run) -> None:
    lines = {line.name: line for line in Watched(run.path).refresh()}
    assert list(lines) == ["eval/accuracy", "train/loss", "train/norm"]
    norm = lines["train/norm"]
    assert (norm.last, norm.step, norm.smallest, norm.largest, norm.rows, norm.nonfinite) == (
        f"{499 % 7}", 499, "0", "6", "500", 1,
    )  # fmt: skip


def test_a_chart_draws_the_extremes_of_every_pixel(run: Run) -> None:
    run.log({"loss": 1e6}, step=250)
    run.flush()
    watched = Watched(run.path)
    (line,) = [line for line in watched.refresh() if line.name == "train/loss"]
    for axis in ("step", "time"):
        curve = watched.curves([line.key], axis=axis, width=40)[line.key]
        assert max(curve.ys) == 1e6
        assert curve.xs == sorted(curve.xs)
        assert len(curve.xs) <= 4 * 40


def test_the_last_sample_of_the_machine_is_one_line(run: Run) -> None:
    watched = Watched(run.path)
    assert watched.system().startswith("system: no samples")
    sample = {
        "host": "a", "cpu_percent": 35.2, "memory": {"used": 12.1e9, "total": 32e9},
        "gpus": [
            {"index": 0, "util": 93, "mem_used": 40.5e9, "temp_c": 61, "power_w": 310.4},
            {"index": 1, "util": None},
        ],
    }  # fmt: skip
    old = {**sample, "cpu_percent": 1}
    torn = '{"host": "a", "cpu_'
    (run.path / "system_metrics.jsonl").write_text(f"{json.dumps(old)}\n{json.dumps(sample)}\n{torn}")
    assert watched.system() == "CPU 35 %  memory 12.1 of 32.0 GB  GPU 0 93 % 40.5 GB 61 °C 310 W  GPU 1"


def test_what_is_lost_is_said(run: Run) -> None:
    watched = Watched(run.path)
    assert watched.losses() == "nothing is lost"
    with (run.path / "metrics.ndjson").open("ab") as file:
        file.write(b"no row\n")
    assert Watched(run.path).losses().startswith("LOST: ")


def test_hostile_names_are_escaped() -> None:
    key = Key("rank-1", "train", "\x1b[31m<b>\u202e", "data")
    assert labels([key, key._replace(dataset=None)]) == [
        "rank-1: train/\\x1b[31m<b>\\u202e [data]",
        "rank-1: train/\\x1b[31m<b>\\u202e",
    ]


def test_without_a_terminal_it_says_what_to_do_instead(run: Run) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "codex_obs", "watch", run.path],
        check=False,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 2
    assert done.stderr == "Watching needs a terminal: codex-obs summarize --output table writes the table anywhere.\n"
