"""Settings of a run, and the one place that reads the environment.

Every variable stands in one table, from which defaults, `env_vars` and the documentation are made. Precedence:
argument, environment, default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_obs._setting_kinds import Integer, Kind, Rejected, trimmed
from codex_obs._setting_table import TABLE, Entry
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from codex_obs.types import BackupCount, Fsync, Overflow, SettingsFields

RUN_DIR_VARIABLE = "CODEX_OBS_RUN_DIR"
RUN_NAME_VARIABLES = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
WORLD_SIZE_VARIABLE = "WORLD_SIZE"

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class EnvVar:
    """An environment variable that codex_obs reads.

    Attributes:
        name: Name of the variable.
        default: What holds without it, as text.
        meaning: What it is for and what it may be.
        setting: The field of `Settings` that it sets, if it sets one.
    """

    name: str
    default: str
    meaning: str
    setting: str | None = None


_OTHERS = (
    EnvVar(RUN_DIR_VARIABLE, "runs/<name>", "Run directory of `init` and input of `codex-ndjson` when none is named."),
    EnvVar(
        RUN_NAME_VARIABLES[0],
        "UTC time and four hex digits",
        "Name of the run when none is given, shared by the processes of a torchrun job. It must be one folder name. "
        "Without `--rdzv-id` torchrun itself sets it to `none`.",
    ),
    EnvVar(
        RUN_NAME_VARIABLES[1],
        "UTC time and four hex digits",
        "Name of the run when none is given and TORCHELASTIC_RUN_ID is not set.",
    ),
    EnvVar(
        WORLD_SIZE_VARIABLE,
        "1 without a rank, else unknown",
        "Number of processes of a distributed job, for the effective batch size in `params.ndjson`.",
    ),
)


@dataclass(frozen=True, kw_only=True, init=False)
class Settings:
    """How a run is written. What is not given comes from the environment, else from the defaults.

    `dataclasses.replace` makes a changed copy.

    Attributes:
        rank: Rank of this process in a distributed job, or None. Rank 0 and None write the main stream.
        resume_step: Step of the first `log` call that gives none, or None to go on after the stream's largest.
        max_shard_bytes: Rotate before a row that would make the shard larger; None never rotates by size.
        max_shard_age_s: Rotate before a row when the shard was last written this many seconds ago; None never does.
        backup_count: Rotated shards kept, ``"all"``, or None to rotate nothing at all.
        max_unexported_shards: Rotated shards kept beyond that while a destination has not read them.
        ring_bytes: Size of the journal, from 256 KiB to 1 GiB.
        max_block_s: Longest wait of `log` for a writer that makes no progress, in seconds.
        overflow: ``"block"`` waits for room in the journal, ``"drop"`` never does.
        fsync: ``"interval"``, ``"never"`` or ``"always"``: when rows are forced to the disk.
        fsync_interval_s: Time between two syncs under ``"interval"``, in seconds.
        file_mode: Permissions of new files, such as ``0o640``; must contain ``0o600``.
        legacy: Write rows of the old format.
        flatten: Turn a mapping whose leaves are scalars into metrics ``a/b``.

    Raises:
        SettingError: If a value, given or from the environment, cannot be used. The text names it.
    """

    rank: int | None
    resume_step: int | None
    max_shard_bytes: int | None
    max_shard_age_s: float | None
    backup_count: BackupCount
    max_unexported_shards: int
    ring_bytes: int
    max_block_s: float
    overflow: Overflow
    fsync: Fsync
    fsync_interval_s: float
    file_mode: int
    legacy: bool
    flatten: bool

    def __init__(self, **given: Unpack[SettingsFields]) -> None:
        for name, value in _resolve(given, os.environ).items():
            object.__setattr__(self, name, value)


def env_vars() -> list[EnvVar]:
    """List every environment variable that codex_obs reads, with its default and meaning."""
    settings = [
        EnvVar(variable, entry.default_text or str(entry.default), entry.meaning, name)
        for name, entry in TABLE.items()
        for variable in entry.variables
    ]
    return [*_OTHERS, *settings]


def run_dir_from_environment() -> str | None:
    """Return the run directory that the environment names, if it names one."""
    return os.environ.get(RUN_DIR_VARIABLE) or None


def terminal_can_erase() -> bool:
    """Return whether a terminal, if there is one, can erase a line again."""
    return os.environ.get("TERM") != "dumb"


def run_name_from_environment() -> tuple[str, str] | None:
    """Return the run name that a launcher gives, after the variable it stands in."""
    for variable in RUN_NAME_VARIABLES:
        if name := os.environ.get(variable):
            return variable, name
    return None


def file_mode_from_environment() -> int:
    """Return the permissions for new files.

    Raises:
        SettingError: If ``CODEX_LOG_FILE_MODE`` is not octal text that contains 600.
    """
    mode = _from_environment(TABLE["file_mode"], os.environ)
    assert isinstance(mode, int)  # noqa: S101 - what the table's kind gives, for the type checker
    return mode


def world_size_from_environment() -> int | None:
    """Return the number of processes of the job, if the launcher gives it. It is informative: nonsense is no error."""
    try:
        size = Integer("", low=1).from_text(os.environ.get(WORLD_SIZE_VARIABLE, ""))
    except Rejected:
        return None
    return size if isinstance(size, int) else None


def _resolve(given: Mapping[str, object], environ: Mapping[str, str]) -> dict[str, object]:
    unknown = [name for name in given if name not in TABLE]
    if unknown:
        raise TypeError(f"unknown setting {unknown[0]!r}: there are {', '.join(TABLE)}")
    return {
        name: _from_environment(entry, environ)
        if name not in given or (given[name] is None and entry.default is None)
        else _checked(name, entry.kind, given[name])
        for name, entry in TABLE.items()
    }


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
            raise SettingError(f"{variable}={_shown(text)} cannot be used: {problem}, or unset it.") from None
        # A switch that is off in one variable may be on in the next.
        if value is not False:
            return value
    return entry.default


def _checked(name: str, kind: Kind, value: object) -> object:
    try:
        return kind.from_value(value)
    except Rejected as problem:
        raise SettingError(f"{name}={_shown(value)} cannot be used: {problem}.") from None


def _shown(value: object) -> str:
    try:
        text = ascii(value)
    except ValueError:  # an integer with more digits than Python converts
        return f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}…"
