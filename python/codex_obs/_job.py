"""The job that this process belongs to: what its ranks share without looking, and who decides for them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from codex_obs._launcher import boot_id, launching_process
from codex_obs._rank import Rank, rank_of
from codex_obs._settings import environment
from codex_obs._settings.ranks import first_count, local_rank
from codex_obs._settings.variables import (
    ADDRESS_VARIABLE,
    ELASTIC_ID_VARIABLE,
    LAUNCHER_VARIABLES,
    NODE_RANK_VARIABLES,
    PMIX_VARIABLE,
    PORT_VARIABLE,
    RANK_VARIABLES,
    RESTART_VARIABLES,
    SLURM_ARRAY_VARIABLE,
    SLURM_JOB_VARIABLE,
    SLURM_STEP_VARIABLES,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_obs._backend import JobRecord

# Numbers of job steps from here on stand for a batch script or an interactive shell, not for a step of `srun`.
_FIRST_SPECIAL_STEP = 0xFFFF_0000
# A rank waits so long for rank 0 of its job.
PATIENCE_S = 60.0
# A `RANK` that nothing else speaks for is one that some earlier program left, or one set by hand.
_DOUBTFUL_PATIENCE_S = 2.0


@dataclass(frozen=True, slots=True)
class Job:
    """The job of this process.

    Attributes:
        rank: Its place among the ranks.
        name: What all ranks call the run, or None.
        origin: The variable that gives the name.
        restart: How often the job was restarted.
        launcher: What its ranks know each other by: the launching process, or an address where it has several hosts.
        is_address: Whether `launcher` is an address, which a later job may have again.
        process: The launching process on this host, as a text that no other process has.
        process_id: Its PID.
        is_needed: Whether there is a job at all: ranks, or a name that was given to several processes.
        patience_s: How long to wait for rank 0; 0 if this process decides by itself.
    """

    rank: Rank
    name: str | None
    origin: str
    restart: int
    launcher: str | None
    is_address: bool
    process: str
    process_id: int
    is_needed: bool
    patience_s: float

    @property
    def decides(self) -> bool:
        """Whether this process chooses the run for the ranks of its job."""
        return self.patience_s == 0

    @property
    def is_certain(self) -> bool:
        """Whether there is a rank 0 to wait for."""
        return self.patience_s >= PATIENCE_S

    @property
    def is_lost(self) -> bool:
        """Whether its ranks on other hosts have nothing to know each other by."""
        return self.launcher is None and self.name is None and self.rank.hosts == 2  # noqa: PLR2004 - see `Rank`

    def record(self, number: int) -> dict[str, object] | None:
        """Return the key as it stands in start records: of the job's `number`-th run; None without a job."""
        if not self.is_needed:
            return None
        return {
            "name": self.name,
            "restart": self.restart,
            "launcher": self.launcher,
            "process": self.process,
            "number": number,
        }

    def has_key(self, record: JobRecord | None, number: int) -> bool:
        """Whether a start record is one of this job's `number`-th run."""
        if record is None or not self.is_needed:
            return False
        name, restart, launcher, _, its_number = record
        return (name, restart, launcher, its_number) == (self.name, self.restart, self.launcher, number)

    def is_restart_of(self, record: JobRecord | None) -> bool:
        """Whether this job is a restart of the one that left a start record, and has not continued it yet."""
        if record is None or self.restart == 0:
            return False
        _, restart, launcher, _, _ = record
        return restart != self.restart and (
            self.name is not None or self.launched(record) or (self.is_address and launcher == self.launcher)
        )

    def launched(self, record: JobRecord | None) -> bool:
        """Whether a start record is of a process that the same process launched."""
        return record is not None and record[3] == self.process


def this_job(rank_setting: int | None, *, is_interactive: bool) -> Job:
    """Tell the job of this process from the variables of launchers and from frameworks that are initialised.

    Args:
        rank_setting: The rank as an argument or the variable of a launcher gives it.
        is_interactive: Whether it is interactive: a notebook or a console.
    """
    environ = environment.of_launchers()
    rank = rank_of(rank_setting, environ)
    origin, name = _shared_name(environ)
    address = _address(environ) or rank.address
    process = launching_process(LAUNCHER_VARIABLES)
    launcher, is_address = _launcher(rank, address, process.text)
    has_rank = rank.number is not None or rank.is_unknown
    is_first_of_node = address is not None and first_count(NODE_RANK_VARIABLES, environ) is not None
    return Job(
        rank=rank,
        name=name,
        origin=origin,
        restart=sum(first_count((variable,), environ) or 0 for variable in RESTART_VARIABLES),
        launcher=launcher,
        is_address=is_address,
        process=process.text,
        process_id=process.pid,
        is_needed=has_rank or name is not None or is_first_of_node,
        patience_s=_patience(rank, environ, is_certain=name is not None or address is not None, alone=is_interactive),
    )


def _shared_name(environ: Mapping[str, str]) -> tuple[str, str | None]:
    """Return what the launcher calls the job, after the variable that says so."""
    elastic = environ.get(ELASTIC_ID_VARIABLE, "")
    if elastic not in ("", "none"):
        return ELASTIC_ID_VARIABLE, elastic
    if slurm := environ.get(SLURM_JOB_VARIABLE):
        task = first_count((SLURM_ARRAY_VARIABLE,), environ)
        step = first_count(SLURM_STEP_VARIABLES, environ)
        array = "" if task is None else f"_{task}"
        return SLURM_JOB_VARIABLE, slurm + array + ("" if step is None or step >= _FIRST_SPECIAL_STEP else f".{step}")
    return PMIX_VARIABLE, environ.get(PMIX_VARIABLE) or None


def _address(environ: Mapping[str, str]) -> str | None:
    address, port = environ.get(ADDRESS_VARIABLE), environ.get(PORT_VARIABLE)
    return f"{address}:{port}" if address and port else None


def _launcher(rank: Rank, address: str | None, process: str) -> tuple[str | None, bool]:
    """Choose what the ranks know each other by, and say whether it is an address."""
    if rank.hosts != 2 and (rank.hosts == 1 or address is None):  # noqa: PLR2004 - see `Rank`
        return process if address is None else f"{process} {address}", False
    if address is None:
        return None, False
    # Every host has a loopback address.
    is_loopback = address.startswith(("127.", "localhost:", "::1:", "[::1]:"))
    return (f"{address}@{boot_id()}" if is_loopback else address), True


def _patience(rank: Rank, environ: Mapping[str, str], *, is_certain: bool, alone: bool) -> float:
    if not rank.is_unknown and not rank.number:
        return 0.0
    is_from_variable = rank.number in (first_count(RANK_VARIABLES, environ), local_rank(environ)[0])
    if not is_from_variable or (rank.size is not None and rank.size > (rank.number or 0)):
        return PATIENCE_S
    # A number that is left from another program: there are fewer ranks, or nothing else says that there are any.
    if rank.size is not None or (alone and not is_certain):
        return 0.0
    return PATIENCE_S if is_certain else _DOUBTFUL_PATIENCE_S


class _Counts:
    """How many runs of a job this process has chosen or joined, by where it looked for them."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.numbers: dict[str, int] = {}

    def next(self, base: str) -> int:
        # A forked child is a process of its own, at the first run of its job.
        if self.pid != os.getpid():
            self.__init__()  # type: ignore[misc]  # it begins anew
        return self.numbers.get(base, 0) + 1

    def note(self, base: str, number: int) -> None:
        self.numbers[base] = number


counts = _Counts()
