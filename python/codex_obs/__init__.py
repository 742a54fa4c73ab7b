"""Crash-safe training logs, written through Rust.

    import codex_obs

    with codex_obs.init("runs/demo", config={"lr": 3e-4}) as run:
        run.log({"loss": 0.5}, step=1)

Importing this starts nothing and reads nothing: all but the extension is loaded when it is first used.
"""

import sys

if sys.platform == "win32":
    raise ImportError("codex_obs runs on Linux and macOS; its journal needs what Windows does not have")

from codex_obs._backend import __version__

TYPE_CHECKING = False  # importing `typing` for it would take longer than everything else here
if TYPE_CHECKING:
    from codex_obs._config import Settings, env_vars
    from codex_obs._variables import EnvVar
    from codex_obs.api import finish, flush, init, log
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
    from codex_obs.reading import read, recover, scan, summarize
    from codex_obs.run import Run

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
    "env_vars",
    "finish",
    "flush",
    "init",
    "log",
    "read",
    "recover",
    "scan",
    "summarize",
]

_HOMES = {
    "_config": ("Settings", "env_vars"),
    "_variables": ("EnvVar",),
    "api": ("finish", "flush", "init", "log"),
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
    "reading": ("read", "recover", "scan", "summarize"),
    "run": ("Run",),
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
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
