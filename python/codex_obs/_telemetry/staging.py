"""Files on their way to an agent: copied once by their content, and deleted when their time is over.

The folder is this user's alone. Only plain files of this user's that have names of ours are written or deleted, and no
link is followed.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import stat
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

from codex_obs.errors import UnsafePathError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_NAME = re.compile(r"([0-9a-f]{64})(\.[A-Za-z0-9._-]{1,64})?")
_RECORD = ".json"
_LOCK = "lock"
_PART = "part-"
_BLOCK = 1 << 20
_SUFFIX = re.compile(r"\.[A-Za-z0-9_-]{1,16}")
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = 0o600


class Staged(NamedTuple):
    """A file that was staged.

    Attributes:
        path: Where it lies.
        checksum: SHA-256 of its content.
        is_new: Whether it was copied now.
    """

    path: Path
    checksum: str
    is_new: bool


class Staging:
    """The folder of one user.

    Raises:
        UnsafePathError: If something lies in its place that is no folder of this user's, or that others may write to.
    """

    def __init__(self, folder: Path) -> None:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            folder.mkdir(mode=0o700)
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
        found = os.fstat(self._descriptor)
        # Looked at by its name too: a link to a folder of the user's own may lead anywhere.
        named = folder.lstat()
        is_ours = stat.S_ISDIR(named.st_mode) and (named.st_dev, named.st_ino) == (found.st_dev, found.st_ino)
        if not is_ours or found.st_uid != os.getuid() or found.st_mode & 0o022:
            os.close(self._descriptor)
            raise UnsafePathError(
                f"{folder} cannot be used for staging: it must be a folder that only its owner may write to"
            )
        self.folder = folder

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)

    def stage(self, source: Path, *, persist: bool, ttl_s: float) -> Staged:
        """Copy a file, unless its content is there.

        Raises:
            OSError: If it cannot be read or copied.
        """
        with source.open("rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise IsADirectoryError(f"{source} is not a file")
            part = f"{_PART}{os.getpid()}-{os.urandom(8).hex()}"
            copy = os.open(part, _NEW, _OURS, dir_fd=self._descriptor)
            try:
                digest = hashlib.sha256()
                with os.fdopen(copy, "wb") as target:
                    while block := file.read(_BLOCK):
                        digest.update(block)
                        target.write(block)
                checksum = digest.hexdigest()
                with self._locked():
                    known = self._find(checksum)
                    suffix = source.suffix if _SUFFIX.fullmatch(source.suffix) and source.suffix != _RECORD else ""
                    name = known or checksum + suffix
                    if known is None:
                        os.rename(part, name, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
                    self._note(checksum, persist=persist, expires=time.time() + ttl_s)
            finally:
                with suppress(FileNotFoundError):
                    os.unlink(part, dir_fd=self._descriptor)
        return Staged(self.folder / name, checksum, known is None)

    def clean(self, *, is_forced: bool) -> list[str]:
        """Delete what has expired, or everything that was staged. Gives the checksums."""
        now, deleted = time.time(), []
        with self._locked():
            for name in sorted(os.listdir(self._descriptor)):  # noqa: PTH208 - the folder itself, whatever its name
                found = _NAME.fullmatch(name)
                if found is None or found[2] == _RECORD or not self._is_plain(name):
                    continue
                checksum = found[1]
                record = self._record(checksum)
                if is_forced or (not record.get("persist") and float(record.get("expires") or 0) <= now):
                    os.unlink(name, dir_fd=self._descriptor)
                    if self._is_plain(checksum + _RECORD):
                        os.unlink(checksum + _RECORD, dir_fd=self._descriptor)
                    deleted.append(checksum)
        return deleted

    @contextmanager
    def _locked(self) -> Iterator[None]:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(_LOCK, flags, _OURS, dir_fd=self._descriptor)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _find(self, checksum: str) -> str | None:
        for name in os.listdir(self._descriptor):  # noqa: PTH208 - as above
            if name.startswith(checksum) and not name.endswith(_RECORD) and self._is_plain(name):
                return name
        return None

    def _is_plain(self, name: str) -> bool:
        try:
            found = os.stat(name, dir_fd=self._descriptor, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(found.st_mode) and found.st_uid == os.getuid() and found.st_nlink == 1

    def _record(self, checksum: str) -> dict[str, float]:
        name = checksum + _RECORD
        if not self._is_plain(name):
            return {}
        descriptor = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)
        with os.fdopen(descriptor) as file:
            try:
                found = json.load(file)
            except ValueError:
                return {}
        return found if isinstance(found, dict) else {}

    def _note(self, checksum: str, *, persist: bool, expires: float) -> None:
        known = self._record(checksum)
        # What several want is kept as long as the last of them wants it.
        record = {
            "persist": persist or bool(known.get("persist")),
            "expires": max(expires, float(known.get("expires") or 0)),
        }
        part = f"{_PART}{os.getpid()}-{os.urandom(8).hex()}"
        descriptor = os.open(part, _NEW, _OURS, dir_fd=self._descriptor)
        with os.fdopen(descriptor, "w") as file:
            json.dump(record, file)
        os.rename(part, checksum + _RECORD, src_dir_fd=self._descriptor, dst_dir_fd=self._descriptor)
