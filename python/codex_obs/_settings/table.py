"""The settings of a run: the variable of each, what it may be, its default and its meaning. Nothing is read here.

Each destination has a table of its own, which is taken up here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from codex_obs._settings.entry import Entry, EnvVar
from codex_obs._settings.kinds import Choice, Deferral, FileMode, Flag, Integer, Limit, SampleFile, Seconds, Words
from codex_obs._settings.variables import GENERAL, HTTP, RANK_VARIABLES
from codex_obs.destinations import mlflow, otlp, tensorboard, wandb

if TYPE_CHECKING:
    from collections.abc import Mapping

_MAX_RANK = 2**31 - 1  # ranks are C ints in MPI
_MIN_RING_BYTES = 256 << 10  # a quarter of it holds the longest row
_MAX_RING_BYTES = 1 << 30  # it is preallocated on disk and pre-faulted in memory
_OFF = "empty, 0, None or a negative number switches the rule off"

TABLE: Mapping[str, Entry] = MappingProxyType(
    {
        "rank": Entry(
            RANK_VARIABLES,
            Integer(f"give a whole number from 0 to {_MAX_RANK}", high=_MAX_RANK),
            None,
            "Rank of this process in a distributed job. Rank 0 writes the main stream, rank R the stream `rank-R`. The "
            "first of these variables that is set is used; empty and negative values count as not set.",
            negative_is_unset=True,
            default_text="no rank",
        ),
        "resume_step": Entry(
            ("CODEX_OBS_RESUME_STEP",),
            Integer("give a whole number from 0 to 2**63-1"),
            None,
            "Step at which training resumes: the step of the first `log` call without one.",
            default_text="0 in an empty run, else one more than the largest step",
        ),
        "max_shard_bytes": Entry(
            ("CODEX_TRACKING_NDJSON_MAX_BYTES",),
            Limit("give a number of bytes in digits such as 67108864, or 0 for no limit"),
            64 << 20,  # opened by an editor, sent by mail, and one file a day for most runs
            f"Rotate before a row that would make the shard larger than this many bytes; {_OFF}.",
            empty_is_value=True,
        ),
        "max_shard_age_s": Entry(
            ("CODEX_TRACKING_NDJSON_MAX_AGE_S",),
            Limit("give a number of seconds in digits such as 86400 or 0.5, or 0 for no limit", fractional=True),
            86_400.0,
            "Rotate before a row when the shard was last written this many seconds ago or longer, and on reopening; "
            f"{_OFF}.",
            empty_is_value=True,
        ),
        "backup_count": Entry(
            ("CODEX_TRACKING_NDJSON_BACKUP_COUNT",),
            Limit("give a number of shards in digits such as 5, all, or 0 for no rotation", all_allowed=True),
            5,
            "Rotated shards that are kept as plain files; `all` keeps every one plain; empty, 0, None or a negative "
            "number means that nothing is ever rotated.",
            empty_is_value=True,
        ),
        "archive": Entry(
            ("CODEX_OBS_ARCHIVE",),
            Choice(("zstd", "none")),
            "zstd",
            "What happens to older shards: `zstd` packs them into archives, `none` deletes them.",
        ),
        "archive_max_bytes": Entry(
            ("CODEX_OBS_ARCHIVE_MAX_BYTES",),
            Limit("give a number of bytes in digits such as 10737418240, or 0 for no limit"),
            None,
            "Largest total size of a file's archives, in bytes; beyond it the oldest archive is deleted, but never the "
            f"newest; {_OFF}.",
            empty_is_value=True,
            default_text="no limit",
        ),
        "max_unexported_shards": Entry(
            ("CODEX_OBS_MAX_UNEXPORTED_SHARDS",),
            Integer("give a number of shards, 0 or more"),
            64,
            "Shards, plain or packed, that are kept beyond limit and count while a destination has not read them.",
        ),
        "ring_bytes": Entry(
            ("CODEX_OBS_RING_BYTES",),
            Integer(
                f"give a number of bytes from {_MIN_RING_BYTES} to {_MAX_RING_BYTES}",
                low=_MIN_RING_BYTES,
                high=_MAX_RING_BYTES,
            ),
            8 << 20,  # about 40,000 calls with 8 metrics
            "Size of the journal that holds rows until they are in the files; rounded up to a power of two.",
        ),
        "max_block_s": Entry(
            ("CODEX_OBS_MAX_BLOCK_S",),
            Seconds("give a number of seconds such as 1 or 0.5"),
            1.0,
            "Longest wait of `log` for a writer that makes no progress, in seconds; then rows are dropped and counted.",
        ),
        "overflow": Entry(
            ("CODEX_OBS_OVERFLOW",),
            Choice(("block", "drop")),
            "block",
            "What `log` does when the journal is full: `block` waits, `drop` never waits and counts.",
        ),
        "fsync": Entry(
            ("CODEX_OBS_FSYNC",),
            Choice(("interval", "never", "always")),
            "interval",
            "When written rows are also forced to the disk: `interval`, `never`, or `always` (after each batch). The "
            "death of the process loses nothing either way; this is about power cuts.",
        ),
        "fsync_interval_s": Entry(
            ("CODEX_OBS_FSYNC_INTERVAL_S",),
            Seconds("give a number of seconds above 0 such as 1 or 0.5", zero_allowed=False),
            1.0,
            "Time between two syncs under the policy `interval`, in seconds.",
        ),
        "file_mode": Entry(
            ("CODEX_LOG_FILE_MODE",),
            FileMode(),
            0o600,
            "Permissions of the files, as octal text such as 640 or 0o640; must contain 600; the umask may narrow it.",
            default_text="600",
        ),
        "legacy": Entry(
            ("CODEX_TRACKING_LEGACY_NDJSON", "LOGGING_NDJSON_LEGACY"),
            Flag(lenient=True),
            default=False,
            meaning="1, true, yes or on in either variable: rows of the old format, without timestamp, run id and "
            "manifest.",
            default_text="off",
        ),
        "flatten": Entry(
            ("CODEX_OBS_FLATTEN",),
            Flag(),
            default=False,
            meaning="1, true, yes or on: a mapping whose leaves are scalars becomes metrics `a/b` instead of a "
            "structured value.",
            default_text="off",
        ),
        "deferred": Entry(
            ("CODEX_OBS_DEFERRED",),
            Deferral(),
            default=True,
            meaning="Whether a value that its device has not computed yet has its row later, so that `log` does not "
            "wait: 1 or 0. `cuda` also defers tensors on a GPU, which has not been tested.",
            default_text="on",
        ),
        "disabled": Entry(
            ("CODEX_OBS_DISABLED",),
            Flag(),
            default=False,
            meaning="1, true, yes or on: `init` gives a run that does nothing. No file, no thread, every counter 0.",
            default_text="off",
        ),
        "console": Entry(
            ("CODEX_OBS_CONSOLE",),
            Flag(),
            default=False,
            meaning="1, true, yes or on: `Run.event` also writes a line to standard error, on rank 0.",
            default_text="off",
        ),
        "system_metrics": Entry(
            ("CODEX_OBS_SYSTEM_METRICS",),
            SampleFile(),
            None,
            "Samples of the machine: `auto` writes them to `system_metrics.jsonl` in the run directory, a path to that "
            "file, seen from the working directory.",
            default_text="off",
        ),
        "system_metrics_interval_s": Entry(
            ("CODEX_OBS_SYSTEM_METRICS_INTERVAL_S",),
            Seconds("give a number of seconds such as 10 or 0.5, 0.1 or more", low=0.1),
            10.0,
            "Time from one sample of the machine to the next, in seconds, 0.1 or more.",
        ),
        "export_ranks": Entry(
            ("CODEX_OBS_EXPORT_RANKS",),
            Choice(("main", "all")),
            "main",
            "Whose metrics are exported: those of the `main` stream, or of `all` streams, the others under names that "
            "begin with `rank-1/`.",
        ),
        "export_interval_s": Entry(
            ("CODEX_OBS_EXPORT_INTERVAL_S",),
            Seconds("give a number of seconds such as 1 or 0.5"),
            1.0,
            "Longest time that a point waits for others before it is sent, in seconds.",
        ),
        "export_flush_metrics": Entry(
            ("CODEX_OBS_EXPORT_FLUSH_METRICS",),
            Integer("give a number of metrics, 1 or more", low=1),
            50,
            "Number of points that are sent without waiting for more.",
        ),
        "export_timeout_s": Entry(
            ("CODEX_OBS_EXPORT_TIMEOUT_S",),
            Seconds("give a number of seconds above 0 such as 3 or 10", zero_allowed=False),
            3.0,
            "Longest time of one request, from looking up the host to the last byte of the reply, in seconds.",
        ),
        "prometheus_port": Entry(
            ("CODEX_OBS_PROMETHEUS_PORT",),
            Integer("give a port from 1 to 65535", low=1, high=65_535),
            None,
            "Port of 127.0.0.1 at which a process beside this one answers Prometheus, at `/metrics`.",
            default_text="off",
        ),
        "destinations": Entry(
            ("CODEX_OBS_DESTINATIONS",),
            Words("give a list of names; in the variable they are separated by commas"),
            (),
            "Destinations of other packages that a process beside this one delivers to, by their names, separated by "
            "commas. `codex-obs plugins list destinations` names those that are installed.",
            default_text="none",
        ),
        **mlflow.SETTINGS,
        **tensorboard.SETTINGS,
        **wandb.SETTINGS,
    }
)

# What the way to a server needs, whichever it is. The values may be secret.
SERVER_VARIABLES = (*mlflow.VARIABLES, *HTTP)


def env_vars() -> list[EnvVar]:
    """List every environment variable that codex_obs reads, with its default and meaning."""
    settings = [
        EnvVar(variable, entry.default_text or str(entry.default), entry.meaning, name)
        for name, entry in TABLE.items()
        for variable in entry.variables
    ]
    return [*GENERAL, *settings, *SERVER_VARIABLES, *wandb.VARIABLES, *otlp.VARIABLES]
