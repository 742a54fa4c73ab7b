"""What can be done about a problem: the engine says what went wrong, of which kind it is, and the facts of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# Options of `codex-ndjson sync` by the fact that gives their value, in the order in which they stand.
_OPTIONS = {
    "to": "--to",
    "wandb_mode": "--wandb-mode",
    "uri": "--uri",
    "dest": "--dest",
    "run_id": "--run-id",
    "experiment_name": "--experiment-name",
    "experiment_id": "--experiment-id",
    "ranks": "--export-ranks",
}
_EXPERIMENT = ("experiment_name", "experiment_id")
_ANEW = "deliver the log to a new run with `{anew}`"

# Remedies by kind. Commands stand in them: {sync} as the facts say, {plain} without an experiment, {other} with one
# that is to be chosen, {anew} for a new run.
_REMEDIES = {
    "undelivered": "run `{sync}`, or reopen the run",
    "held_elsewhere": "deliver the rest after it ends, or wait for it with `--follow`",
    "other_streams": "`--export-ranks all` delivers them",
    "foreign_journal": "if no writer is alive there, `codex-ndjson recover --input {directory}` recovers its rows",
    "mlflow_run_id": f"set mlflow_run_id to one, or {_ANEW}",
    "mlflow_run_of_another": (
        "deliver the log to an MLflow run of its own with `{anew}`, or delete that tag in MLflow if both are to be in "
        "one"
    ),
    "mlflow_run_deleted": (
        f"restore it with `MLFLOW_TRACKING_URI={{uri}} mlflow runs restore --run-id {{run}}`, or {_ANEW}"
    ),
    "mlflow_run_unknown": f"check the address and the identifier, or {_ANEW}",
    "mlflow_run_refused": ("check the run and deliver the log later with `{plain}`, or to a new run with `{anew}`"),
    "mlflow_experiment_twice": "name it once; `{sync}` delivers the log to that of the name",
    "mlflow_experiment_deleted": (
        "restore it with `MLFLOW_TRACKING_URI={uri} mlflow experiments restore --experiment-id {deleted}` and deliver "
        "the log with `{sync}`, or deliver it to another one with `{other}`"
    ),
    "mlflow_experiment": (
        "name one that exists and is active; `{sync}` delivers the log to the one that every server has"
    ),
}


# What is said of a value that could not be read, with a remedy: words of the error's class or text, in lower case. The
# first that fits counts.
_UNREADABLE = (
    (
        ("tracer", "concretization"),
        (
            "while a function is traced its values do not exist: call "
            "`jax.debug.callback(lambda value: run.log({...}), value)` inside, or log what the function returns"
        ),
    ),
    (
        ("partialdtensor",),
        "call `value.full_tensor()` on every rank, and log what that gives",
    ),
    (
        ("deleted", "donated"),
        "log the value before its buffer is donated or deleted, or log a copy of it",
    ),
    (("meta tensor",), "tensors of the device meta have no values: log once the module is on a real device"),
    (
        ("fake", "vmap", "functorch", "datadependent", "make_fx", "proxy"),
        "while a function is compiled, exported or mapped its values do not exist: log what it returns, outside of it",
    ),
    (
        ("non-addressable", "addressable", "multihost"),
        "this process has no part of the value: gather it first, or log it where it lies",
    ),
)
_UNREADABLE_ELSE = "log a number, or an object whose `float()` gives one"
_UNREADABLE_END = "said once for each metric and error; values_unreadable in stats() counts all"


def in_words(what: str, kind: str, facts: Mapping[str, str]) -> str:
    """Say what went wrong and what can be done.

    Args:
        what: What went wrong, as the engine says it.
        kind: Which remedy there is.
        facts: Directory, destination and the rest, as they are meant.
    """
    if kind == "value_unreadable":
        return f"{what}; {_about_unreadable(facts)}; {_UNREADABLE_END}"
    return f"{what}; {_REMEDIES[kind].format_map(_Places(facts))}"


def _about_unreadable(facts: Mapping[str, str]) -> str:
    """Say what can be done about a value that could not be read."""
    said = f"{facts['class']} {facts['words']}".lower()
    found = (remedy for words, remedy in _UNREADABLE if any(word in said for word in words))
    return next(found, _UNREADABLE_ELSE)


class _Places(dict[str, str]):
    """What stands in the place of each name in a remedy, as a shell reads it."""

    def __init__(self, facts: Mapping[str, str]) -> None:
        self._facts = facts
        super().__init__()

    def __missing__(self, name: str) -> str:
        facts = self._facts
        plain = {key: value for key, value in facts.items() if key not in _EXPERIMENT}
        if name == "sync":
            return _sync(facts)
        if name == "plain":
            return _sync(plain)
        if name == "other":
            return _sync({**plain, "experiment_id": "ID"})
        if name == "anew":
            return _sync({**facts, "new_run": "yes"})
        return _quote(facts[name])


def _sync(facts: Mapping[str, str]) -> str:
    """Give the command that delivers the log of a directory."""
    options = [f"{option} {_quote(facts[fact])}" for fact, option in _OPTIONS.items() if fact in facts]
    new_run = ["--new-run"] if "new_run" in facts else []
    return " ".join(["codex-ndjson sync", _quote(facts["directory"]), *options, *new_run])


def _quote(word: str) -> str:
    """Give a word as a shell reads it. `shlex` would have to be imported, perhaps while the interpreter ends."""
    if word and word.isascii() and all(character.isalnum() or character in "/._-+=:@%," for character in word):
        return word
    return "'" + word.replace("'", "'\\''") + "'"
