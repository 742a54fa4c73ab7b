"""Dashboard lines: the events of a trainer on standard error, if the user asks for them.

``TRAINER - Policy Loss: 0.512000 | Grad norm: 1.250000``. What is hidden here is logged and delivered all the same.
"""

from __future__ import annotations

import contextlib
import math
import re
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, SupportsFloat, SupportsIndex

from codex_obs import _backend, _nonfinite
from codex_obs._settings import environment
from codex_obs._visible import visible

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LABELS = {
    "approx_kl": "Approx. KL",
    "clip_fraction": "Clip fraction",
    "duration_ms": "Duration (ms)",
    "entropy": "Entropy",
    "episode_length_max": "Max episode length",
    "episode_length_mean": "Mean episode length",
    "episode_length_min": "Min episode length",
    "episodes": "Episodes",
    "global_grad_norm": "Grad norm",
    "learning_rate": "Learning rate",
    "max_return": "Max return",
    "mean_return": "Mean return",
    "min_return": "Min return",
    "mpo_alpha_loss": "MPO alpha loss",
    "mpo_temperature_loss": "MPO temperature loss",
    "mpo_total_loss": "MPO total loss",
    "policy_loss": "Policy loss",
    "policy_version": "Policy version",
    "replay_len": "Replay length",
    "steps_per_second": "Steps per second",
    "timesteps": "Timesteps",
    "value_loss": "Value loss",
}

_LEVELS = {"off": 0, "error": 1, "warn": 2, "warning": 2, "info": 3, "debug": 4, "trace": 5}
# As the engine's `record::event`: a test compares them.
_CATEGORIES = {"TRAIN": "TRAINER", "ACT": "ACTOR", "EVAL": "EVALUATOR"}
_COLOURS = {"TRAINER": "36", "ACTOR": "35", "EVALUATOR": "32", "MISC": "34"}
# Counts of progress: whole numbers, and shown as such.
_COUNTS = frozenset({"timesteps", "policy_version", "step", "global_step", "update"})
# What CUDA back ends say of their contexts, as trainers pass it on.
_BACK_END = re.compile(r"(^|[^a-z])(cuda|cudarc|cubecl|cublas|cudnn|nvrtc)([^a-z]|$)")
_SMALLEST_PLAIN = 1e-3
_LARGEST_PLAIN = 1e4
# A text that is longer would fill the terminal.
_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Filter:
    """Which lines are shown.

    Attributes:
        level: For targets without a level of their own.
        targets: Levels by the beginning of a target, which is a category in lower case.
        hides_back_ends: Whether lines of CUDA back ends are hidden unless a target names them.
    """

    level: int
    targets: Mapping[str, int]
    hides_back_ends: bool

    def shows(self, target: str, level: int) -> bool:
        """Return whether a line is shown."""
        named = [prefix for prefix in self.targets if target == prefix or target.startswith(f"{prefix}::")]
        if named:
            return level <= self.targets[max(named, key=len)]
        return level <= self.level and not (self.hides_back_ends and _BACK_END.search(target))


class Console:
    """Writes the events of a run as lines.

    Args:
        record: What logs an event; it is called first.
        config: Parameters of the run, whose ``logging`` may say what is shown.
    """

    def __init__(self, record: Callable[..., None], config: Mapping[str, object]) -> None:
        self._record = record
        labels, unread = _labels(environment.metric_labels())
        self._labels = {**LABELS, **labels}
        self._filter, warnings = _filter(environment.log_filters(), config.get("logging"))
        _backend.emit_warnings(unread + warnings)

    def event(self, category: object, message: object = None, **fields: object) -> None:
        """Log an event, as `Run.event` does, and write it as a line."""
        self._record(category, message, **fields)
        # A line is not worth an exception in a trainer: its terminal may be gone.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            self._show(_text(category), message, fields)

    def _show(self, category: str, message: object, fields: Mapping[str, object]) -> None:
        label = _CATEGORIES.get(category.upper(), category.upper())
        label = label if label in _COLOURS else "MISC"
        target = label.lower() if label != "MISC" or category.upper() == "MISC" else category.lower()
        level = _LEVELS.get(_text(fields.get("level", "info")).lower(), _LEVELS["info"])
        if not self._filter.shows(target, level):
            return
        parts = [] if message is None else [_text(message)]
        parts += [f"{self._label(name)}: {number(name, value)}" for name, value in fields.items() if value is not None]
        stream = sys.stderr
        if environment.colours_are_wanted(stream):
            label = f"\x1b[{_COLOURS[label]}m{label}\x1b[0m"
        stream.write(f"{label} - {' | '.join(parts)}\n")

    def _label(self, name: str) -> str:
        return self._labels.get(name) or visible(name.replace("_", " ").replace("/", " ").title())


def number(name: str, value: object) -> str:
    """Return a value as it is shown: 0, six decimals, or scientific with six."""
    found = _read(name, value)
    if isinstance(found, str):
        return found
    if not math.isfinite(found):
        return _nonfinite.word(found)
    if found == 0:
        return "0"
    return f"{found:.6f}" if _SMALLEST_PLAIN <= abs(found) < _LARGEST_PLAIN else f"{found:.6e}"


def _read(name: str, value: object) -> float | str:
    """Return a number, or the text of what is none."""
    try:
        # Of an array or tensor of one element, that element.
        value = value.item() if hasattr(value, "item") else value
        if isinstance(value, bool) or not isinstance(value, SupportsFloat):
            return _text(value)
        return str(int(value)) if name in _COUNTS and isinstance(value, SupportsIndex) else float(value)
    except OverflowError:
        return math.inf if isinstance(value, int) and value > 0 else -math.inf
    except Exception:  # noqa: BLE001 - whatever an object of a stranger raises; it is on record as unreadable
        return _text(value)


def _text(value: object) -> str:
    try:
        text = str(value)
    except Exception:  # noqa: BLE001 - as above
        text = f"<{type(value).__name__}>"
    return visible(text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…")


def _labels(found: tuple[str, str] | None) -> tuple[dict[str, str], list[str]]:
    """Read ``key=Label,key=Label``; what is none of that is named."""
    if found is None:
        return {}, []
    variable, text = found
    labels, wrong = {}, []
    for part in filter(None, map(str.strip, text.split(","))):
        name, equals, label = (word.strip() for word in part.partition("="))
        if equals and name and label:
            labels[name] = visible(label)
        else:
            wrong.append(part)
    return labels, [f"{variable}: {word!r:.80} is no label: write key=Label" for word in wrong]


def _filter(variables: list[tuple[str, str]], given: object) -> tuple[Filter, list[str]]:
    """Choose what is shown: the first variable that can be read, else the configuration, else ``info``."""
    warnings: list[str] = []
    for variable, text in variables:
        directives = _directives(text)
        if directives is not None:
            return Filter(*directives, hides_back_ends=False), warnings
        # Other programs read RUST_LOG too, and know more forms of it.
        if variable != "RUST_LOG":
            warnings.append(f"{variable}={text!r:.80} is not used: write a level such as debug, or trainer=debug,info")
    logging: Mapping[str, object] = _backend.members_of(given) if _backend.is_object(given) else {}
    directives = _directives(str(logging.get("log_level") or "info")) or (_LEVELS["info"], {})
    return Filter(*directives, hides_back_ends=logging.get("backend_logs_visible") is not True), warnings


def _directives(text: str) -> tuple[int, dict[str, int]] | None:
    """Read ``level`` and ``target=level``, separated by commas; None if that is not what it is."""
    default, targets = None, {}
    parts = [part.strip() for part in text.lower().split(",")]
    for part in filter(None, parts):
        target, equals, word = (piece.strip() for piece in part.rpartition("="))
        if word not in _LEVELS or (equals and not target):
            return None
        if equals:
            targets[target] = _LEVELS[word]
        else:
            default = _LEVELS[word]
    if default is None and not targets:
        return None
    # As in env_logger: with targets alone, nothing else but errors is shown.
    return _LEVELS["error"] if default is None else default, targets
