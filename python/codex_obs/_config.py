"""Settings of a run, and the one place that reads the environment.

Every variable stands in one table, from which defaults, `env_vars` and the documentation are made. Precedence:
argument, environment, default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from codex_obs._rank import first_count, local_rank
from codex_obs._setting_kinds import Choice, Rejected, trimmed
from codex_obs._setting_table import TABLE, Entry
from codex_obs._uri import hidden_user_info, without_user_info
from codex_obs._variables import (
    EXPORT,
    GENERAL,
    LABEL_VARIABLES,
    LAUNCHER_VARIABLES,
    LOG_VARIABLES,
    MLFLOW_URI_VARIABLE,
    RESUME_VARIABLE,
    RUN_DIR_VARIABLE,
    SIZE_VARIABLES,
    EnvVar,
)
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import TextIO, Unpack

    from codex_obs.types import Archive, BackupCount, ExportRanks, Fsync, Overflow, SettingsFields


_SHOWN_CHARACTERS = 80
_PREFIX = "CODEX_OBS_"
_TESTS_PREFIX = "CODEX_OBS_TEST_"
# Variables that this process has warned about. A forked child inherits them.
_told: set[str] = set()
# What `init` takes beside the settings.
INIT_ARGUMENTS = ("run_dir", "run_id", "name", "config", "tags", "resume", "rewind_to", "settings")
# The setting that may hold a password.
_URI_SETTING = "mlflow_tracking_uri"
RESUME = Choice(("allow", "must", "never", "new"))
_EXPERIMENT_SETTINGS = ("mlflow_experiment_id", "mlflow_experiment_name")


@dataclass(frozen=True, kw_only=True, init=False, repr=False)
class Settings:
    """How a run is written. What is not given comes from the environment, else from the defaults.

    `dataclasses.replace` makes a changed copy. A user name and password in the tracking URI are not shown by `repr` and
    not kept by a pickle: where that arrives, they come from the environment.

    Attributes:
        rank: Rank of this process in a distributed job, or None. Rank 0 and None write the main stream.
        resume_step: Step of the first `log` call that gives none, or None to continue after the stream's largest.
        max_shard_bytes: Rotate before a row that would make the shard larger; None never rotates by size.
        max_shard_age_s: Rotate before a row when the shard was last written this many seconds ago; None never does.
        backup_count: Rotated shards kept as plain files, ``"all"``, or None to rotate nothing at all.
        archive: ``"zstd"`` packs older shards, ``"none"`` deletes them.
        archive_max_bytes: Most bytes of a file's archives, or None: beyond it the oldest are deleted.
        max_unexported_shards: Shards kept beyond limit and count while a destination has not read them.
        ring_bytes: Size of the journal, from 256 KiB to 1 GiB.
        max_block_s: Longest wait of `log` for a writer that makes no progress, in seconds.
        overflow: ``"block"`` waits for room in the journal, ``"drop"`` never does.
        fsync: ``"interval"``, ``"never"`` or ``"always"``: when rows are forced to the disk.
        fsync_interval_s: Time between two syncs under ``"interval"``, in seconds.
        file_mode: Permissions of new files, such as ``0o640``; must contain ``0o600``.
        legacy: Write rows of the old format.
        disabled: Make a run that does nothing: no file, no thread, every counter 0.
        console: Write each event as a line to standard error, too.
        flatten: Turn a mapping whose leaves are scalars into metrics ``a/b``.
        mlflow_tracking_uri: Address of the MLflow server to export to, or None. An empty text is None too, whatever the
            environment says.
        mlflow_run_id: MLflow run to export to, or None for the one that belongs to the run directory, else a new one.
        mlflow_experiment_id: MLflow experiment of a new MLflow run.
        mlflow_experiment_name: Its name instead, or None. It is made if there is none.
        export_ranks: ``"main"`` exports the main stream, ``"all"`` every stream.
        export_interval_s: Longest time that a metric waits for others before it is sent, in seconds.
        export_flush_metrics: So many metrics are sent without waiting for others.
        export_request_metrics: Most metrics of one request.
        export_request_bytes: Most bytes of one request.
        export_timeout_s: Longest time of one request, in seconds.

    Raises:
        SettingError: If a value, given or from the environment, cannot be used. The text names it.
    """

    rank: int | None
    resume_step: int | None
    max_shard_bytes: int | None
    max_shard_age_s: float | None
    backup_count: BackupCount
    archive: Archive
    archive_max_bytes: int | None
    max_unexported_shards: int
    ring_bytes: int
    max_block_s: float
    overflow: Overflow
    fsync: Fsync
    fsync_interval_s: float
    file_mode: int
    legacy: bool
    flatten: bool
    disabled: bool
    console: bool
    mlflow_tracking_uri: str | None
    mlflow_run_id: str | None
    mlflow_experiment_id: str
    mlflow_experiment_name: str | None
    export_ranks: ExportRanks
    export_interval_s: float
    export_flush_metrics: int
    export_request_metrics: int
    export_request_bytes: int
    export_timeout_s: float

    def __init__(self, **given: Unpack[SettingsFields]) -> None:
        for name, value in _resolve(given, os.environ).items():
            object.__setattr__(self, name, value)

    def __repr__(self) -> str:
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        if self.mlflow_tracking_uri is not None:
            values[_URI_SETTING] = hidden_user_info(self.mlflow_tracking_uri)
        return f"{type(self).__name__}({', '.join(f'{name}={value!r}' for name, value in values.items())})"

    def __getstate__(self) -> dict[str, object]:
        state = dict(vars(self))
        if self.mlflow_tracking_uri is not None:
            state[_URI_SETTING] = without_user_info(self.mlflow_tracking_uri)
        return state

    def __copy__(self) -> Settings:
        # Not by way of the pickle, which knows no password. What never changes is its own copy.
        return self

    def __deepcopy__(self, _seen: object) -> Settings:
        return self


# Where pickles say that it is: a name of the package, which stays when its files change.
Settings.__module__ = "codex_obs"


def env_vars() -> list[EnvVar]:
    """List every environment variable that codex_obs reads, with its default and meaning."""
    settings = [
        EnvVar(variable, entry.default_text or str(entry.default), entry.meaning, name)
        for name, entry in TABLE.items()
        for variable in entry.variables
    ]
    return [*GENERAL, *settings, *EXPORT]


def run_dir_from_environment() -> str | None:
    """Return the run directory that the environment names, if it names one."""
    return os.environ.get(RUN_DIR_VARIABLE) or None


def mlflow_uri_from_environment() -> str | None:
    """Return the address of the MLflow server that the environment names, for a delivery that was asked for.

    Raises:
        SettingError: If it cannot be used; the text names the variable.
    """
    uri = _from_environment(replace(TABLE[_URI_SETTING], variables=_uri_variables()), os.environ)
    return uri if isinstance(uri, str) else None


def mlflow_uri_variable() -> str:
    """Return the variable that `mlflow_uri_from_environment` takes the address from."""
    variables = _uri_variables()
    return next((name for name in variables if trimmed(os.environ.get(name, ""))), variables[0])


def _uri_variables() -> tuple[str, ...]:
    return (*TABLE[_URI_SETTING].variables, MLFLOW_URI_VARIABLE)


def export_environment() -> dict[str, str]:
    """Return the variables that say how to reach a server, as far as they are set. They may be secret."""
    names = [variable.name for variable in EXPORT]
    spellings = {*names, *(name.lower() for name in names if name.endswith("_PROXY"))}
    return {name: os.environ[name] for name in spellings if name in os.environ}


def metric_labels_from_environment() -> tuple[str, str] | None:
    """Return the first variable that names labels, and its text."""
    return next(((name, os.environ[name]) for name in LABEL_VARIABLES if os.environ.get(name)), None)


def log_filters_from_environment() -> list[tuple[str, str]]:
    """Return the variables that say which lines are shown, and their texts, as far as they are set."""
    return [(name, os.environ[name]) for name in LOG_VARIABLES if os.environ.get(name)]


def colours_are_wanted(stream: TextIO) -> bool:
    """Return whether colours may be written to a stream: it is a terminal that knows them, and nobody objects."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def terminal_can_erase() -> bool:
    """Return whether a terminal, if there is one, can erase a line again."""
    return os.environ.get("TERM") != "dumb"


def launcher_environment() -> dict[str, str]:
    """Return what launchers say of the job, as far as it is set."""
    return {name: os.environ[name] for name in LAUNCHER_VARIABLES if name in os.environ}


def world_size_from_environment() -> int | None:
    """Return the number of ranks, if a launcher gives it. It is informative: nonsense is no error."""
    return first_count(SIZE_VARIABLES, os.environ, low=1)


def user_from_environment() -> str | None:
    """Return the name of the user, as `getpass.getuser` finds it; None if nothing tells it."""
    named = next(filter(None, map(os.environ.get, ("LOGNAME", "USER", "LNAME", "USERNAME"))), None)
    if named is not None:
        return named
    import pwd  # noqa: PLC0415 - rarely needed

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container may run as a number that no file names
        return None


def resume_from_environment() -> str | None:
    """Return what a directory that holds a run means to `init`, if the environment says so.

    Raises:
        SettingError: If it says nothing that can be used.
    """
    value = _from_environment(Entry((RESUME_VARIABLE,), RESUME, None, ""), os.environ)
    return value if isinstance(value, str) else None


def resume_from_argument(value: object) -> str:
    """Check what an argument says of it.

    Raises:
        SettingError: If it is none of the four.
    """
    checked = _checked("resume", Entry((), RESUME, None, ""), value)
    return str(checked)


def file_mode_from_environment() -> int:
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


def _resolve(given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
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
    # Two names for one thing: an argument wins over the environment for both.
    if len(chosen & set(_EXPERIMENT_SETTINGS)) == 1:
        values |= {name: TABLE[name].default for name in _EXPERIMENT_SETTINGS if name not in chosen}
    return values


def _from_environment(entry: Entry, environ: Mapping[str, str]) -> object:
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
    return entry.default


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
