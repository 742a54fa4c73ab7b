"""Whether a machine and a folder are good for logging: what was found, what it means, and what to do about it."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import platform
import resource
import secrets
import socket
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from codex_obs import _backend
from codex_obs._inspection import size_text
from codex_obs._settings import environment
from codex_obs._settings.settings import Settings
from codex_obs.destinations import mlflow
from codex_obs.errors import SettingError
from codex_obs.system import Sampler

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

OK, WARNING, PROBLEM = "ok", "warning", "problem"

# What lies in memory and is gone with the machine's next start.
_IN_MEMORY = {"tmpfs", "ramfs"}
_NETWORK = {
    "nfs",
    "nfs4",
    "cifs",
    "smb3",
    "smbfs",
    "lustre",
    "beegfs",
    "gpfs",
    "ceph",
    "glusterfs",
    "afs",
    "9p",
    "vboxsf",
}
# A full disk stops the writer: it then waits and drops rows once its journal is full, all of which is counted.
_LOW_BYTES = 2_000_000_000
_TOO_FEW_BYTES = 200_000_000
_FEW_INODES = 1000
_FEW_FILES = 256
_SKEW_S = 2.0
# A driver that wakes its GPUs up first takes seconds.
_DRIVER_S = 5.0
# Of a container's memory.
_FULL = 0.95
_CONNECT_S = 3.0
# Before this software was written.
_TOO_EARLY_S = 1_735_689_600
_MAPPED_BYTES = 1 << 16


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        check: What it is.
        status: `OK`, `WARNING` (it works, with a limit) or `PROBLEM` (logging will not work as promised).
        found: What was found.
        meaning: What that means for logging.
        remedy: What to do; empty if nothing has to be done.
    """

    check: str
    status: str
    found: str
    meaning: str
    remedy: str = ""


def examine(folder: Path) -> list[Finding]:
    """Look at the machine and at a folder, which need not exist yet. Nothing stays there that was not there before."""
    place = _existing(folder)
    checks: list[Callable[[], Finding]] = [
        _versions,
        _settings,
        lambda: _folder(folder, place),
        lambda: _file_system(place),
        lambda: _space(place),
        lambda: _inodes(place),
        lambda: _locks(place),
        lambda: _mapping(place),
        lambda: _clock(place),
        _open_files,
        _file_size,
        _loopback,
        _server,
    ]
    return [*(check() for check in checks), *_sampled()]


def _existing(folder: Path) -> Path:
    """Give the folder, or the nearest one above it that there is."""
    resolved = folder.expanduser().absolute()
    return next((path for path in (resolved, *resolved.parents) if path.is_dir()), Path("/"))


@contextmanager
def _probe(place: Path) -> Iterator[int]:
    path = place / f".codex_obs-doctor-{secrets.token_hex(8)}"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        yield descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):
            path.unlink()


def _sampled() -> Iterator[Finding]:
    """Take one sample of the machine, as a run would."""
    sampler = Sampler(patience_s=_DRIVER_S)
    try:
        sample: dict[str, Any] = sampler.sample()
        degraded = [change for change in sampler.changes() if change.status == "degraded"]
    finally:
        sampler.close()
    troubles = {change.reason.removeprefix("system:"): str(change.extra["error"]) for change in degraded}
    yield _container(sample["cgroup"] or {})
    if "psutil" in troubles:
        meaning = "Samples of the machine have no processor, memory, disk, network and processes; rows need it not."
        yield Finding("psutil", WARNING, "not installed", meaning, troubles["psutil"].rpartition(": ")[2])
    else:
        yield Finding("psutil", OK, "installed", "The machine can be sampled beside a run (system_metrics).")
    gpus = sample["gpus"]
    if gpus is None:
        meaning = "Samples have no GPU values; a run goes on without them, and tries again every minute."
        remedy = "nvidia-smi says more. In a container: start it with the GPUs (--gpus all)."
        yield Finding("gpu driver", WARNING, troubles.get("nvml") or troubles.get("amd", ""), meaning, remedy)
    elif failed := [troubles[part] for part in ("nvml", "amd") if part in troubles]:
        meaning = "That GPU gives no values, and programs that use it fail."
        yield Finding(
            "gpu driver", PROBLEM, "; ".join(failed), meaning, "nvidia-smi says more; often only a restart helps."
        )
    elif gpus:
        names = ", ".join(f"{gpu['index']}: {gpu['name'] or 'unknown'}" for gpu in gpus)
        yield Finding("gpu driver", OK, names, "Samples have their load, memory, temperature and power.")
    else:
        yield Finding("gpu driver", OK, "no GPU", "Samples have an empty list of GPUs.")


def _container(cgroup: dict[str, Any]) -> Finding:
    limit, used, cpus = (cgroup.get(name) for name in ("memory_limit", "memory_used", "cpu_limit"))
    words = []
    if limit is not None:
        words.append(f"memory: {size_text(limit)}" + ("" if used is None else f", {size_text(used)} used"))
    if cpus is not None:
        words.append(f"processors: {cpus:g}")
    found = "; ".join(words) or "no limit"
    if limit is not None and used is not None and used > _FULL * limit:
        meaning = "The kernel ends a process of this container once the memory is used up. No row is lost by that."
        return Finding("container", WARNING, found, meaning, "Give it more memory, or use less in it.")
    return Finding("container", OK, found, "What control groups allow the processes here.")


def _versions() -> Finding:
    found = f"codex_obs {_backend.__version__}, Python {platform.python_version()}, {platform.platform()}"
    machine = platform.machine()
    if sys.platform != "linux" or machine not in {"x86_64", "aarch64"}:
        meaning = "Only Linux on x86-64 and arm64 is tested; what is promised is promised there."
        return Finding("versions", WARNING, found, meaning, "Use it for trying things out.")
    return Finding("versions", OK, found, "A supported platform.")


def _settings() -> Finding:
    try:
        Settings()
    except SettingError as error:
        return Finding("settings", PROBLEM, str(error), "init raises this error.", "Correct or unset the variable.")
    unknown = environment.unknown_variables()
    if unknown:
        return Finding(
            "settings", WARNING, "; ".join(unknown), "Nothing reads them.", "Correct the names or unset them."
        )
    return Finding("settings", OK, "every CODEX_OBS variable can be read", "init takes its defaults from them.")


def _folder(folder: Path, place: Path) -> Finding:
    try:
        with _probe(place):
            pass
    except OSError as error:
        found = f"{place}: {error.strerror}"
        remedy = "Choose another run directory, or change the folder's owner or permissions."
        return Finding("folder", PROBLEM, found, "No file can be created there, so no run can be opened.", remedy)
    found = f"{place} can be written"
    if place != folder.expanduser().absolute():
        found = f"{folder} does not exist yet; {found}"
    return Finding("folder", OK, found, "Runs can be created there.")


def _mount_of(place: Path) -> tuple[str, str, list[str]] | None:
    """Give mount point, type and options of the file system of a folder."""
    device = place.stat().st_dev
    with suppress(OSError, ValueError, IndexError):
        best = None
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            head, _, tail = line.partition(" - ")
            fields = head.split(" ")
            point = fields[4].encode(errors="surrogateescape").decode("unicode_escape")
            if place.is_relative_to(point) and (best is None or len(point) >= len(best[0])):
                best = (point, tail.split(" ")[0], fields[5].split(","))
        if best is not None and (os.stat(best[0]).st_dev == device or best[1] == "btrfs"):  # noqa: PTH116 - text
            return best
    return None


def _file_system(place: Path) -> Finding:
    mount = _mount_of(place)
    if mount is None:
        return Finding("file system", WARNING, "its type cannot be told", "Locks and mapping are tested below.")
    point, kind, options = mount
    found = f"{kind} at {point}"
    if "ro" in options:
        return Finding(
            "file system", PROBLEM, f"{found}, read-only", "Nothing can be logged there.", "Choose another folder."
        )
    if kind in _IN_MEMORY:
        meaning = "It lies in memory: rows survive a killed process, not a restart of the machine."
        return Finding("file system", WARNING, found, meaning, "Use a folder on a disk for runs that matter.")
    if kind in _NETWORK or kind.startswith("fuse"):
        meaning = "A network or FUSE file system: slower to sync, and other hosts may see files late."
        remedy = "It works; log to a local disk and copy the run if the loop waits (stats()['blocked_ns'])."
        return Finding("file system", WARNING, found, meaning, remedy)
    return Finding("file system", OK, found, "A local file system.")


def _space(place: Path) -> Finding:
    usage = os.statvfs(place)
    free, total = usage.f_bavail * usage.f_frsize, usage.f_blocks * usage.f_frsize
    found = f"{size_text(free)} of {size_text(total)} free"
    meaning = "On a full disk the writer waits, and rows are dropped and counted once its journal is full."
    remedy = "Free space, or choose another folder. Archives take about a twentieth of the rows' size."
    if free < _TOO_FEW_BYTES:
        return Finding("disk space", PROBLEM, found, meaning, remedy)
    if free < _LOW_BYTES:
        return Finding("disk space", WARNING, found, meaning, remedy)
    return Finding("disk space", OK, found, "Enough for hundreds of millions of rows, as they are packed.")


def _inodes(place: Path) -> Finding:
    usage = os.statvfs(place)
    if usage.f_files and usage.f_favail < _FEW_INODES:
        meaning = "No file can be created once there is none left, however much space is free."
        return Finding(
            "inodes", PROBLEM, f"{usage.f_favail} free", meaning, "Delete small files, or choose another folder."
        )
    found = f"{usage.f_favail:,} free" if usage.f_files else "without a limit"
    return Finding("inodes", OK, found, "A run has about ten files and its shards.")


def _locks(place: Path) -> Finding:
    try:
        with _probe(place) as one:
            other = os.open(f"/proc/self/fd/{one}", os.O_RDWR | os.O_CLOEXEC) if os.path.exists("/proc/self/fd") else -1  # noqa: PTH110 - no path
            try:
                fcntl.flock(one, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if other >= 0:
                    with suppress(BlockingIOError):
                        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        meaning = "Two processes may take the same stream."
                        return Finding("locks", PROBLEM, "a lock is given twice", meaning, "Choose another folder.")
            finally:
                if other >= 0:
                    os.close(other)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return _not_tried("locks", error)
        meaning = (
            "A record in a file decides who owns a stream instead; a run of another host has to be recovered by hand."
        )
        remedy = "Mount it with locks (NFS: without nolock), or choose another folder."
        return Finding("locks", WARNING, f"none: {error.strerror}", meaning, remedy)
    return Finding("locks", OK, "they exclude each other", "A stream has one owner, and who died is noticed at once.")


def _mapping(place: Path) -> Finding:
    try:
        with _probe(place) as descriptor:
            os.ftruncate(descriptor, _MAPPED_BYTES)
            with mmap.mmap(descriptor, _MAPPED_BYTES) as mapped:
                mapped[:5] = b"codex"
                seen = os.pread(descriptor, 5, 0)
    except OSError as error:
        if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
            return _not_tried("journal", error)
        return _no_mapping(f"no shared mapping: {error.strerror}")
    if seen != b"codex":
        return _no_mapping("a mapping and the file differ")
    return Finding(
        "journal", OK, "files can be mapped and shared", "A call of log copies into memory that outlives it."
    )


def _no_mapping(found: str) -> Finding:
    meaning = "The journal is written with a system call a row instead: as safe, and some microseconds slower."
    return Finding("journal", WARNING, found, meaning, "Choose a local file system for tight loops.")


def _not_tried(check: str, error: OSError) -> Finding:
    return Finding(check, WARNING, f"not tried: {error.strerror}", "No file can be created there.", "See folder above.")


def _clock(place: Path) -> Finding:
    now_s = time.time()
    if now_s < _TOO_EARLY_S:
        found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
        return Finding("clock", PROBLEM, found, "Rows get wrong times.", "Set the clock (chronyc, timedatectl).")
    skew_s = 0.0
    with suppress(OSError), _probe(place) as descriptor:
        before_s = time.time()
        os.write(descriptor, b"x")
        written_s = os.fstat(descriptor).st_mtime
        skew_s = max(before_s - written_s - 1, written_s - time.time(), 0.0)
    if skew_s > _SKEW_S:
        meaning = "Rotation by age and the times of a server's files go by its clock."
        remedy = "Set both clocks by NTP."
        return Finding("clock", WARNING, f"the file system's clock is {skew_s:.0f} s off", meaning, remedy)
    found = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(now_s))
    return Finding("clock", OK, found, "The file system's clock agrees.")


def _open_files() -> Finding:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < _FEW_FILES:
        meaning = "A run needs about ten descriptors, data loaders need the rest."
        return Finding(
            "open files", WARNING, f"at most {soft}", meaning, f"ulimit -n {min(hard, 4096) if hard > 0 else 4096}"
        )
    return Finding(
        "open files", OK, "without a limit" if soft == resource.RLIM_INFINITY else f"at most {soft:,}", "Enough."
    )


def _file_size() -> Finding:
    soft, _ = resource.getrlimit(resource.RLIMIT_FSIZE)
    if soft == resource.RLIM_INFINITY:
        return Finding("file size", OK, "without a limit", "Shards are rotated by their own limit.")
    needed = Settings().max_shard_bytes if _settings().status == OK else None
    if needed is None or soft < needed:
        meaning = "A shard that reaches it cannot grow: rows wait in the journal and are dropped once that is full."
        return Finding(
            "file size",
            PROBLEM,
            f"at most {size_text(soft)}",
            meaning,
            "ulimit -f unlimited, or a smaller max_shard_bytes.",
        )
    return Finding("file size", OK, f"at most {size_text(soft)}", "More than a shard.")


def _loopback() -> Finding:
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as server:
            server.bind(("127.0.0.1", 0))
            server.listen(1)
            port = server.getsockname()[1]
            with socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_S):
                pass
    except OSError as error:
        meaning = "Tunnels to a server (ssh -R, ssh -L) end there; logging itself needs no port."
        return Finding(
            "ports", WARNING, f"127.0.0.1: {error.strerror or error}", meaning, "Check the firewall of this machine."
        )
    return Finding("ports", OK, "127.0.0.1 can be listened on and reached", "Tunnels to a server can end there.")


def _server() -> Finding:
    try:
        uri = environment.text_of(mlflow.ADDRESS)
    except SettingError as error:
        return Finding("mlflow", PROBLEM, str(error), "init raises this error.", "Correct or unset the variable.")
    if not uri:
        return Finding("mlflow", OK, "no server is set", "Rows stay in the files; codex-obs sync delivers them later.")
    parts = urlsplit(uri)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return Finding(
            "mlflow",
            WARNING,
            f"{parts.scheme}: is no HTTP address",
            "Nothing is delivered there.",
            "Give http://HOST:PORT.",
        )
    address = f"{parts.hostname}:{parts.port or (443 if parts.scheme == 'https' else 80)}"
    try:
        with socket.create_connection((parts.hostname, int(address.rpartition(":")[2])), timeout=_CONNECT_S):
            pass
    except (OSError, ValueError) as error:
        meaning = "Training does not wait for it: rows stay in the files and are delivered when it answers."
        remedy = "Check the address, the server and any proxy in front of it; a proxy that is set is not tried here."
        return Finding("mlflow", WARNING, f"{address} cannot be reached: {error}", meaning, remedy)
    return Finding("mlflow", OK, f"{address} accepts connections", "Rows are delivered while training runs.")
