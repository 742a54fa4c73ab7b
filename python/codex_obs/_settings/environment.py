"""The one place that reads the environment. Precedence: argument, environment, default."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from codex_obs._settings.entry import Entry
from codex_obs._settings.kinds import Choice, Rejected, trimmed
from codex_obs._settings.ranks import first_count, local_rank
from codex_obs._settings.table import SERVER_VARIABLES, TABLE, env_vars
from codex_obs._settings.variables import (
    CACHE_VARIABLE,
    CONTENT_VARIABLE,
    GUARD_ALLOWS,
    GUARD_FOLDER,
    GUARD_SAMPLES,
    GUARD_URI,
    LABEL_VARIABLES,
    LAUNCHER_VARIABLES,
    LOCAL_RANK_VARIABLES,
    LOG_VARIABLES,
    RESUME_VARIABLE,
    RUN_DIR_VARIABLE,
    SIZE_VARIABLES,
    STAGING_VARIABLE,
    TRACEPARENT_VARIABLE,
)
from codex_obs.destinations import otlp, wandb
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import TextIO

_SHOWN_CHARACTERS = 80
_PREFIX = "CODEX_OBS_"
_TESTS_PREFIX = "CODEX_OBS_TEST_"
_PYTHON_PATH = "PYTHONPATH"
# Vendors' own switches.
_QUIET = {
    "WANDB_ERROR_REPORTING": "false",
    "WANDB_SILENT": "true",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
}
# Variables that this process has warned about. A forked child inherits them.
_told: set[str] = set()
# What `init` takes beside the settings.
INIT_ARGUMENTS = ("run_dir", "run_id", "name", "config", "tags", "resume", "rewind_to", "settings")
RESUME = Choice(("allow", "must", "never", "new"))


def run_dir() -> str | None:
    """Return the run directory that the environment names, if it names one."""
    return os.environ.get(RUN_DIR_VARIABLE) or None


def text_of(entry: Entry) -> str | None:
    """Return what the environment says of a setting that is text, else its default.

    Raises:
        SettingError: If it cannot be used; the text names the variable.
    """
    value = _from_environment(entry, os.environ)
    return value if isinstance(value, str) else None


def variable_of(entry: Entry) -> str:
    """Return the variable that `text_of` takes the value from, or the first if none is set."""
    return next((name for name in entry.variables if trimmed(os.environ.get(name, ""))), entry.variables[0])


def resolved(given: Mapping[str, object]) -> dict[str, object]:
    """Return every setting: as it is given, else as the environment says, else its default.

    Raises:
        SettingError: If a value cannot be used; the text names the setting or the variable.
        TypeError: If something is given that is no setting.
    """
    return _resolved(given, os.environ)


def of_servers() -> dict[str, str]:
    """Return the variables that say how to reach a server, as far as they are set. They may be secret."""
    names = [variable.name for variable in SERVER_VARIABLES]
    spellings = {*names, *(name.lower() for name in names if name.endswith("_PROXY"))}
    return {name: os.environ[name] for name in spellings if name in os.environ}


def of_wandb() -> dict[str, str]:
    """Return the variables of W&B's own client that say what a run is called, as far as they are set."""
    return {variable.name: os.environ[variable.name] for variable in wandb.VARIABLES if variable.name in os.environ}


def python_path() -> str | None:
    """Return where Python looks for modules beside its own places, if the environment says so."""
    return os.environ.get(_PYTHON_PATH)


def for_sidecar(package: str) -> list[tuple[str, str]]:
    """Return the environment of a process that is to find this package, whose folder is given, wherever that lies."""
    places = os.pathsep.join(filter(None, [package, python_path()]))
    return list((dict(os.environ) | {_PYTHON_PATH: places}).items())


def restore_python_path(text: str | None) -> None:
    """Undo, in that process, what `for_sidecar` did."""
    if text is None:
        os.environ.pop(_PYTHON_PATH, None)
    else:
        os.environ[_PYTHON_PATH] = text


def quieten_vendors() -> None:
    """Switch off, for this process, vendors' reports home and what they say beside us. What the user has set stays."""
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)


def of_otlp() -> dict[str, str]:
    """Return the variables that say where spans go, as far as they are set. They may be secret."""
    return {variable.name: os.environ[variable.name] for variable in otlp.VARIABLES if variable.name in os.environ}


def traceparent() -> str | None:
    """Return the span of another process in which this one was started, if the environment names one."""
    return os.environ.get(TRACEPARENT_VARIABLE)


def staging_dir() -> Path:
    """Return the folder for staged files."""
    named = os.environ.get(STAGING_VARIABLE)
    if named:
        return Path(named).expanduser()
    cache = os.environ.get(CACHE_VARIABLE, "")
    return (Path(cache) if cache.startswith("/") else Path.home() / ".cache") / f"codex_obs-{os.getuid()}"


def captures_content(variables: Mapping[str, str]) -> bool:
    """Return whether spans keep their content.

    Raises:
        SettingError: If the variable is neither on nor off.
    """
    return otlp.is_on(CONTENT_VARIABLE, variables.get(CONTENT_VARIABLE, ""))


def everything() -> Mapping[str, str]:
    """Return the whole environment, for what is given another one in tests."""
    return os.environ


def wandb_mode() -> str:
    """Return what W&B's own variable says of its mode, in lower case."""
    return trimmed(os.environ.get(wandb.MODE, "")).lower()


def has_mlflow_address() -> bool:
    """Return whether a variable of ours says where MLflow data goes."""
    return text_of(TABLE["mlflow_tracking_uri"]) is not None


def wandb_is_disabled() -> bool:
    """Return whether W&B's own client is switched off, which switches its runs here off as well."""
    return wandb_mode() == "disabled" or trimmed(os.environ.get(wandb.DISABLED, "")).lower() in wandb.TRUE


def of_guard() -> dict[str, str]:
    """Return what `codex_obs.mlflow_guard` looks at, as far as it is set."""
    names = (GUARD_URI, GUARD_FOLDER, *GUARD_ALLOWS, GUARD_SAMPLES)
    return {name: os.environ[name] for name in names if name in os.environ}


def tell(variables: Mapping[str, str]) -> None:
    """Set variables, for this process and those that it starts."""
    os.environ.update(variables)


def propose(variables: Mapping[str, str]) -> None:
    """Set those variables that nobody has set."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)


@contextmanager
def unchanged(variable: str) -> Iterator[None]:
    """Keep a variable as it is, whatever the code in the block sets."""
    before = os.environ.get(variable)
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(variable, None)
        else:
            os.environ[variable] = before


def metric_labels() -> tuple[str, str] | None:
    """Return the first variable that names labels, and its text."""
    return next(((name, os.environ[name]) for name in LABEL_VARIABLES if os.environ.get(name)), None)


def log_filters() -> list[tuple[str, str]]:
    """Return the variables that say which lines are shown, and their texts, as far as they are set."""
    return [(name, os.environ[name]) for name in LOG_VARIABLES if os.environ.get(name)]


def colours_are_wanted(stream: TextIO) -> bool:
    """Return whether colours may be written to a stream: it is a terminal that knows them, and nobody objects."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_can_erase() -> bool:
    """Return whether a terminal, if there is one, can erase a line again."""
    return os.environ.get("TERM") != "dumb"


def of_launchers() -> dict[str, str]:
    """Return what launchers say of the job, as far as it is set."""
    return {name: os.environ[name] for name in LAUNCHER_VARIABLES if name in os.environ}


def is_first_of_a_host() -> bool:
    """Return whether a launcher says that this process is the first one of its host."""
    return first_count(LOCAL_RANK_VARIABLES, os.environ) == 0


def world_size() -> int | None:
    """Return the number of ranks, if a launcher gives it. It is informative: nonsense is no error."""
    return first_count(SIZE_VARIABLES, os.environ, low=1)


def user() -> str | None:
    """Return the name of the user, as `getpass.getuser` finds it; None if nothing tells it."""
    named = next(filter(None, map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))), None)
    if named is not None:
        return named
    import pwd  # noqa: PLC0415 - rarely needed

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that no file names
        return None


def resume() -> str | None:
    """Return what a directory that holds a run means to `init`, if the environment says so.

    Raises:
        SettingError: If it says nothing that can be used.
    """
    return text_of(Entry((RESUME_VARIABLE,), RESUME, None, ""))


def checked_resume(value: object) -> str:
    """Check what an argument says of it.

    Raises:
        SettingError: If it is none of the four.
    """
    checked = _checked("resume", Entry((), RESUME, None, ""), value)
    return str(checked)


def file_mode() -> int:
    """Return the permissions for new files.

    Raises:
        SettingError: If ``CODEX_LOG_FILE_MODE`` is not octal text that contains 600.
    """
    mode = _from_environment(TABLE["file_mode"], os.environ)
    assert isinstance(mode, int)  # noqa: S101 - what the table's kind gives, for the type checker
    return mode


def unknown_variables() -> list[str]:
    """Return a sentence for each unknown variable with our prefix, each once only."""
    ours = [name for name in os.environ if name.startswith(_PREFIX) and not name.startswith(_TESTS_PREFIX)]
    known = {variable.name for variable in env_vars()} if ours else set()
    found = [name for name in ours if name not in known and name not in _told]
    if not found:
        return []
    from codex_obs import _mistakes  # noqa: PLC0415 - loaded after a mistake only

    _told.update(found)
    return [_mistakes.of_variable(name, known) for name in sorted(found)]


def _resolved(given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    unknown = [name for name in given if name not in TABLE]
    if unknown:
        from codex_obs import _mistakes  # noqa: PLC0415 - loaded after a mistake only

        raise TypeError(_mistakes.of_init(unknown[0], [*INIT_ARGUMENTS, *TABLE]))
    chosen = {
        name
        for name, entry in TABLE.items()
        # None is not given, but where it is a value: it switches a limit off.
        if name in given and not (given[name] is None and entry.default is None and not entry.empty_is_value)
    }
    values = {
        name: _checked(name, entry, given[name]) if name in chosen else _from_environment(entry, environ)
        for name, entry in TABLE.items()
    }
    if values["rank"] is None:
        values["rank"] = local_rank(environ)[0]
    given_otherwise = {name for name, entry in TABLE.items() if entry.twin in chosen and name not in chosen}
    return values | {name: TABLE[name].default for name in given_otherwise}


def _from_environment(entry: Entry, environ: Mapping[str, str]) -> object:
    value = entry.default
    for variable in entry.variables:
        text = environ.get(variable)
        if text is None or not (trimmed(text) or entry.empty_is_value):
            continue
        if entry.negative_is_unset and trimmed(text).startswith("-"):
            continue
        try:
            value = entry.kind.from_text(text)
        except Rejected as problem:
            what = variable if entry.is_secret else f"{variable}={_shown(text)}"
            raise SettingError(f"{what} cannot be used: {problem}, or unset it.") from None
        # A switch that is off in one variable may be on in the next.
        if value is not False:
            return value
    return value


def _checked(name: str, entry: Entry, value: object) -> object:
    try:
        return entry.kind.from_value(value)
    except Rejected as problem:
        what = name if entry.is_secret else f"{name}={_shown(value)}"
        raise SettingError(f"{what} cannot be used: {problem}.") from None


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except ValueError:  # an integer with more digits than Python converts
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
