"""A file system in user space: everything is passed on to a folder, but not always, not at once, and not as it says.

Started as a program of its own: ``python -m faults.fuse_server BACKING MOUNT CONTROL OPTIONS``.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mfusepy

from faults.fuse_control import FAULTS, PER_MILLE
from faults.tally import Tally

if TYPE_CHECKING:
    from collections.abc import Iterable

SLOWEST_S = 0.02
SLOW_PER_MILLE = 20
# A journal that cannot be written protects nothing: then a kill costs rows, whatever the logger does. So where it is
# killed, the journal is spared.
_SPARED = "/journal-"
_ERRORS = (errno.EIO, errno.ENOSPC, errno.EDQUOT)


class Faults:
    """Decides what goes wrong: by a seed, and what `script` names by operation, path, turn and ``fail`` or ``lie``.

    It is noted in the file `trace`.
    """

    def __init__(
        self,
        control: Path,
        seed: int,
        script: Iterable[tuple[str, str, int, str]] = (),
        trace: str | None = None,
        *,
        spares_journal: bool = True,
    ) -> None:
        self.control = Tally(control)
        self._random = random.Random(seed)
        self._script = {(what, path, turn): kind for what, path, turn, kind in script}
        self._turns: Counter[tuple[str, str]] = Counter()
        self._trace = Path(trace) if trace else None
        self._spared = _SPARED if spares_journal else None
        self._lock = threading.Lock()

    def strike(self, what: str, path: str, *facts: object) -> str:
        """Say what happens to an operation: "" for nothing, else ``fail`` or ``lie``; it may be slow too."""
        pause_s = 0.0
        with self._lock:
            self._turns[what, path] += 1
            turn = self._turns[what, path]
            per_mille = self.control[PER_MILLE]
            draw, slow, kind, pause = (self._random.random() for _ in range(4))
            struck = self._script.get((what, path, turn), "")
            if per_mille > 0 and (self._spared is None or self._spared not in path):
                if slow * 1000 < SLOW_PER_MILLE:
                    pause_s = pause * SLOWEST_S
                if draw * 1000 < per_mille:
                    struck = "fail" if kind < 0.5 else "lie"
            if struck:
                self.control[FAULTS] += 1
                self._note(f"{struck} {what} {path} {turn} {facts}")
        if pause_s > 0:
            time.sleep(pause_s)
        return struck

    def _note(self, text: str) -> None:
        if self._trace is not None:
            with self._trace.open("a") as trace:
                trace.write(f"{time.monotonic_ns()} {text}\n")

    def error(self) -> mfusepy.FuseOSError:
        """Give the error that is answered."""
        with self._lock:
            return mfusepy.FuseOSError(self._random.choice(_ERRORS))

    def part(self, size: int) -> int:
        """Give the length of a part of something."""
        with self._lock:
            return self._random.randrange(size + 1)


class Passing(mfusepy.Operations):  # type: ignore[misc]
    """The operations."""

    use_ns = True

    def __init__(self, backing: str, faults: Faults, options: dict[str, Any]) -> None:
        self.backing = backing
        self.faults = faults
        self.lacks = set(options.get("lacks", ()))
        self.shown_owner = options.get("shown_owner")
        if "flock" in self.lacks:
            self.flock = self._refuse_lock

    def _at(self, path: str) -> Path:
        return Path(self.backing + path)

    def _may(self, what: str, path: str) -> None:
        if self.faults.strike(what, path):
            raise self.faults.error()

    def _lying(self, what: str) -> bool:
        """Raise the error of an operation that is not done. True: it is done, and an error is answered all the same."""
        if what == "fail":
            raise self.faults.error()
        return what == "lie"

    def _refuse_lock(self, path: str, fh: int, op: int) -> int:
        del path, fh, op
        raise mfusepy.FuseOSError(errno.ENOLCK)

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        self._may("getattr", path)
        return self._facts(os.fstat(fh) if fh else self._at(path).lstat())

    def _facts(self, found: os.stat_result) -> dict[str, Any]:
        facts = {
            name: getattr(found, name) for name in ("st_mode", "st_ino", "st_nlink", "st_uid", "st_gid", "st_size")
        }
        if self.shown_owner is not None:
            facts["st_uid"] = self.shown_owner
        return facts | {f"st_{kind}time": getattr(found, f"st_{kind}time_ns") for kind in "acm"}

    def readdir(self, path: str, fh: int) -> Any:
        del fh
        self._may("readdir", path)
        # The kernel keeps what it is told here, sizes too.
        entries: list[tuple[str, dict[str, Any], int]] = [(".", {}, 0), ("..", {}, 0)]
        for entry in self._at(path).iterdir():
            with suppress(FileNotFoundError):
                entries.append((entry.name, self._facts(entry.lstat()), 0))
        return entries

    def mkdir(self, path: str, mode: int) -> int:
        self._may("mkdir", path)
        self._at(path).mkdir(mode)
        return 0

    def rmdir(self, path: str) -> int:
        self._at(path).rmdir()
        return 0

    # A name that changes although an error is answered would have the library beneath take one file for another.
    def unlink(self, path: str) -> int:
        self._may("unlink", path)
        self._at(path).unlink()
        return 0

    def rename(self, old: str, new: str) -> int:
        self._may("rename", old)
        self._at(old).rename(self._at(new))
        return 0

    def link(self, target: str, source: str) -> int:
        if "links" in self.lacks:
            raise mfusepy.FuseOSError(errno.EPERM)
        self._may("link", target)
        self._at(target).hardlink_to(self._at(source))
        return 0

    def symlink(self, target: str, source: str) -> int:
        self._at(target).symlink_to(source)
        return 0

    def readlink(self, path: str) -> str:
        return str(self._at(path).readlink())

    def open(self, path: str, flags: int) -> int:
        self._may("open", path)
        # The kernel says where to write.
        return os.open(self._at(path), flags & ~os.O_APPEND)

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        del fi
        self._may("create", path)
        return os.open(self._at(path), os.O_RDWR | os.O_CREAT, mode)

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        self._may("read", path)
        return os.pread(fh, size, offset)

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        what = self.faults.strike("write", path, offset, len(data))
        if what == "fail":
            # Some of it may have arrived.
            os.pwrite(fh, data[: self.faults.part(len(data))], offset)
            raise self.faults.error()
        os.pwrite(fh, data, offset)
        if what == "lie":
            raise self.faults.error()
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        lies = self._lying(self.faults.strike("truncate", path, length))
        os.truncate(fh or self._at(path), length)
        if lies:
            raise self.faults.error()
        return 0

    def release(self, path: str, fh: int) -> int:
        del path
        os.close(fh)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        del datasync, fh
        self._may("fsync", path)
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        del path, datasync, fh
        if "fsyncdir" in self.lacks:
            raise mfusepy.FuseOSError(errno.EOPNOTSUPP)
        return 0

    def statfs(self, path: str) -> dict[str, int]:
        found = os.statvfs(self._at(path))
        names = ("f_bavail", "f_bfree", "f_blocks", "f_bsize", "f_favail", "f_ffree", "f_files", "f_flag", "f_frsize")
        return {name: getattr(found, name) for name in (*names, "f_namemax")}

    def chmod(self, path: str, mode: int) -> int:
        self._at(path).chmod(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        os.chown(self._at(path), uid, gid)
        return 0

    def utimens(self, path: str, times: Any = None) -> int:
        if times is not None:
            os.utime(self._at(path), ns=(int(times[0]), int(times[1])))
        return 0


class Server(mfusepy.FUSE):  # type: ignore[misc]
    """Knows no flags of a rename, as most file systems of the kind."""

    def rename_fuse_3(self, old: bytes, new: bytes, flags: int) -> int:
        if flags:
            raise mfusepy.FuseOSError(errno.EINVAL)
        return int(super().rename_fuse_2(old, new))


def main() -> None:
    backing, place, control, options = sys.argv[1:]
    settings = json.loads(options)
    script = map(tuple, settings.get("script", ()))
    faults = Faults(
        Path(control),
        settings.get("seed", 0),
        script,
        settings.get("trace"),
        spares_journal=settings.get("spares_journal", True),
    )
    # The descriptor of a folder that is in use must not keep the backing busy.
    fcntl.fcntl(0, fcntl.F_SETFD, fcntl.FD_CLOEXEC)
    kept_s = settings.get("kept_s", 1.0)
    Server(
        Passing(backing, faults, settings),
        place,
        foreground=True,
        nothreads=False,
        use_ino=True,
        allow_other=True,
        attr_timeout=kept_s,
        entry_timeout=kept_s,
        negative_timeout=0,
    )


main()
