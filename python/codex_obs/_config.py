"""Settings of a run, and the one place that reads the environment.

Every variable stands in one table, from which defaults, `env_vars` and the documentation are made. Precedence:
argument, environment, default.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

from codex_obs._setting_kinds import Choice, FileMode, Flag, Integer, Kind, Limit, Rejected, Seconds, trimmed
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from codex_obs.types import BackupCount, Fsync, Overflow, SettingsFields

RUN_DIR_VARIABLE = "CODEX_OBS_RUN_DIR"
RUN_NAME_VARIABLES = ("TORCHELASTIC_RUN_ID", "SLURM_JOB_ID")
WORLD_SIZE_VARIABLE = "WORLD_SIZE"
FILE_MODE_VARIABLE = "CODEX_LOG_FILE_MODE"

_MAX_RANK = 2**31 - 1  # ranks are C ints in MPI
_MIN_RING_BYTES = 256 << 10  # a quarter of it holds the longest row
_MAX_RING_BYTES = 1 << 30  # it is preallocated on disk and pre-faulted in memory
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


@dataclass(frozen=True, slots=True)
class _Entry:
    """A setting: where it comes from, what it may be, what it is otherwise."""

    variables: tuple[str, ...]
    kind: Kind
    default: object
    meaning: str
    # What an empty variable means: not set, or a value of its own.
    empty_is_value: bool = False
    # A negative number in a launcher's variable means that there are no ranks.
    negative_is_unset: bool = False
    default_text: str = ""

    def from_environment(self, environ: Mapping[str, str]) -> object:
        for variable in self.variables:
            text = environ.get(variable)
            if text is None or not (trimmed(text) or self.empty_is_value):
                continue
            if self.negative_is_unset and trimmed(text).startswith("-"):
                continue
            try:
                value = self.kind.from_text(text)
            except Rejected as problem:
                raise SettingError(f"{variable}={_shown(text)} cannot be used: {problem}, or unset it.") from None
            if value is not False:
                return value
        return self.default


_OFF = "empty, 0, None or a negative number switches the rule off"

_TABLE: Mapping[str, _Entry] = MappingProxyType(
    {
        "rank": _Entry(
            ("RANK", "SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "PMI_RANK"),
            Integer(f"give a whole number from 0 to {_MAX_RANK}", high=_MAX_RANK),
            None,
            "Rank of this process in a distributed job. Rank 0 writes the main stream, rank R the stream `rank-R`. The "
            "first of these variables that is set counts; empty and negative count as not set.",
            negative_is_unset=True,
            default_text="no rank",
        ),
        "resume_step": _Entry(
            ("CODEX_OBS_RESUME_STEP",),
            Integer("give a whole number from 0 to 2**63-1"),
            None,
            "Step at which training resumes: the step of the first `log` call without one.",
            default_text="0 in an empty run, else one more than the largest step",
        ),
        "max_shard_bytes": _Entry(
            ("CODEX_TRACKING_NDJSON_MAX_BYTES",),
            Limit("give a number of bytes in digits such as 67108864, or 0 for no limit"),
            64 << 20,  # opened by an editor, sent by mail, and one file a day for most runs
            f"Rotate before a row that would make the shard larger than this many bytes; {_OFF}.",
            empty_is_value=True,
        ),
        "max_shard_age_s": _Entry(
            ("CODEX_TRACKING_NDJSON_MAX_AGE_S",),
            Limit("give a number of seconds in digits such as 86400 or 0.5, or 0 for no limit", fractional=True),
            86_400.0,
            "Rotate before a row when the shard was last written this many seconds ago or longer, and on reopening; "
            f"{_OFF}.",
            empty_is_value=True,
        ),
        "backup_count": _Entry(
            ("CODEX_TRACKING_NDJSON_BACKUP_COUNT",),
            Limit("give a number of shards in digits such as 5, all, or 0 for no rotation", all_allowed=True),
            5,
            "Rotated shards that are kept; `all` keeps every one; empty, 0, None or a negative number means that "
            "nothing is ever rotated.",
            empty_is_value=True,
        ),
        "max_unexported_shards": _Entry(
            ("CODEX_OBS_MAX_UNEXPORTED_SHARDS",),
            Integer("give a number of shards, 0 or more"),
            64,
            "Rotated shards that are kept beyond the backup count while a destination has not read them.",
        ),
        "ring_bytes": _Entry(
            ("CODEX_OBS_RING_BYTES",),
            Integer(
                f"give a number of bytes from {_MIN_RING_BYTES} to {_MAX_RING_BYTES}",
                low=_MIN_RING_BYTES,
                high=_MAX_RING_BYTES,
            ),
            8 << 20,  # about 40,000 calls with 8 metrics
            "Size of the journal that holds rows until they are in the files; rounded up to a power of two.",
        ),
        "max_block_s": _Entry(
            ("CODEX_OBS_MAX_BLOCK_S",),
            Seconds("give a number of seconds such as 1 or 0.5"),
            1.0,
            "Longest wait of `log` for a writer that makes no progress, in seconds; then rows are dropped and counted.",
        ),
        "overflow": _Entry(
            ("CODEX_OBS_OVERFLOW",),
            Choice(("block", "drop")),
            "block",
            "What `log` does when the journal is full: `block` waits, `drop` never waits and counts.",
        ),
        "fsync": _Entry(
            ("CODEX_OBS_FSYNC",),
            Choice(("interval", "never", "always")),
            "interval",
            "When written rows are also forced to the disk: `interval`, `never`, or `always` (after each batch). The "
            "death of the process loses nothing either way; this is about power cuts.",
        ),
        "fsync_interval_s": _Entry(
            ("CODEX_OBS_FSYNC_INTERVAL_S",),
            Seconds("give a number of seconds above 0 such as 1 or 0.5", zero_allowed=False),
            1.0,
            "Time between two syncs under the policy `interval`, in seconds.",
        ),
        "file_mode": _Entry(
            (FILE_MODE_VARIABLE,),
            FileMode(),
            0o600,
            "Permissions of the files, as octal text such as 640 or 0o640; must contain 600; the umask may narrow it.",
            default_text="600",
        ),
        "legacy": _Entry(
            ("CODEX_TRACKING_LEGACY_NDJSON", "LOGGING_NDJSON_LEGACY"),
            Flag(lenient=True),
            default=False,
            meaning="1, true, yes or on in either variable: rows of the old format, without timestamp, run id and "
            "manifest.",
            default_text="off",
        ),
        "flatten": _Entry(
            ("CODEX_OBS_FLATTEN",),
            Flag(),
            default=False,
            meaning="1, true, yes or on: a mapping whose leaves are scalars becomes metrics `a/b` instead of a "
            "structured value.",
            default_text="off",
        ),
    }
)

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
        for name, entry in _TABLE.items()
        for variable in entry.variables
    ]
    return [*_OTHERS, *settings]


def run_dir_from_environment() -> str | None:
    """Return the run directory that the environment names, if it names one."""
    return os.environ.get(RUN_DIR_VARIABLE) or None


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
    mode = _TABLE["file_mode"].from_environment(os.environ)
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
    unknown = [name for name in given if name not in _TABLE]
    if unknown:
        raise TypeError(f"unknown setting {unknown[0]!r}: there are {', '.join(_TABLE)}")
    return {
        name: entry.from_environment(environ)
        if name not in given or (given[name] is None and entry.default is None)
        else _checked(name, entry.kind, given[name])
        for name, entry in _TABLE.items()
    }


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
