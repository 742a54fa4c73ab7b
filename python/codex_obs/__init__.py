"""Crash-safe training logs, written through Rust.

    import codex_obs

    with codex_obs.init("runs/demo", config={"lr": 3e-4}) as run:
        run.log({"loss": 0.5}, step=1)

Importing this starts nothing and reads nothing: all but the extension is loaded when it is first used.
"""

import sys

if sys.platform == "win32":
    raise ImportError("codex_obs runs on Linux and macOS; its journal needs POSIX features that Windows lacks")

from codex_obs._backend import __version__

TYPE_CHECKING = False  # importing `typing` for it would take longer than everything else here
if TYPE_CHECKING:
    from codex_obs._catalog import runs
    from codex_obs._run import Run
    from codex_obs._settings.entry import EnvVar
    from codex_obs._settings.settings import Settings
    from codex_obs._settings.table import env_vars
    from codex_obs.api import current_run, event, finish, flush, init, log, log_params
    from codex_obs.errors import (
        CodexObsError,
        ConflictError,
        DamagedFileError,
        LogFileError,
        NoActiveRunError,
        NoLogError,
        SettingError,
        UnsafePathError,
    )
    from codex_obs.reading import payloads, read, recover, scan, summarize

__all__ = [
    "CodexObsError",
    "ConflictError",
    "DamagedFileError",
    "EnvVar",
    "LogFileError",
    "NoActiveRunError",
    "NoLogError",
    "Run",
    "SettingError",
    "Settings",
    "UnsafePathError",
    "__version__",
    "current_run",
    "env_vars",
    "event",
    "finish",
    "flush",
    "init",
    "log",
    "log_params",
    "payloads",
    "read",
    "recover",
    "runs",
    "scan",
    "summarize",
]

_HOMES = {
    "_catalog": ("runs",),
    "_settings.settings": ("Settings",),
    "_settings.table": ("env_vars",),
    # `_reopen` is where pickles of a run point: at the package, so that they do not depend on its files.
    "_run": ("Run", "_reopen"),
    "_settings.entry": ("EnvVar",),
    "api": ("current_run", "event", "finish", "flush", "init", "log", "log_params"),
    "errors": (
        "CodexObsError",
        "ConflictError",
        "DamagedFileError",
        "LogFileError",
        "NoActiveRunError",
        "NoLogError",
        "SettingError",
        "UnsafePathError",
    ),
    "reading": ("payloads", "read", "recover", "scan", "summarize"),
}

# What other loggers call it, and what is tried first.
_INSTEAD = {
    "run": "codex_obs.current_run() gives the current run",
    "active_run": "codex_obs.current_run() gives the current run",
    "config": "codex_obs.current_run().config gives the parameters, codex_obs.log_params(...) adds to them",
    "start_run": "codex_obs.init(...) opens a run",
    "end_run": "codex_obs.finish() closes the current run",
    "close": "codex_obs.finish() closes the current run",
    "log_metric": "codex_obs.log({name: value}) logs metrics",
    "log_metrics": "codex_obs.log({name: value}) logs metrics",
    "log_param": "codex_obs.log_params({name: value}) logs parameters",
    "set_tag": "codex_obs.init(tags={name: value}) sets tags of the run, codex_obs.log(..., tags=...) those of rows",
    "set_tags": "codex_obs.init(tags={name: value}) sets tags of the run, codex_obs.log(..., tags=...) those of rows",
}

# Type checkers see the imports above instead, and so report a name that does not exist.
if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        for home, names in _HOMES.items():
            if name in names:
                from importlib import import_module  # noqa: PLC0415 - most programs use one or two names

                value = getattr(import_module(f"{__name__}.{home}"), name)
                globals()[name] = value
                return value
        instead = f": {_INSTEAD[name]}" if name in _INSTEAD else ""
        # With the name and the module, Python adds what else may be meant.
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}{instead}", name=name, obj=sys.modules[__name__]
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
