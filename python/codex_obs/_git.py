"""The commit and branch of a repository, read from its files: no program is started, and nothing is written."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_MAX_BYTES = 1 << 20  # packed-refs of a large repository; more is not looked through
_HEX = frozenset("0123456789abcdef")
_HASH_LENGTHS = (40, 64)  # SHA-1, SHA-256


def commit_and_branch(start: Path | None = None) -> dict[str, str]:
    """Give the commit and the branch that a folder's repository is at.

    The files are described in gitrepository-layout(5).

    Args:
        start: A folder in the repository; None is that of the training program, else the working directory.

    Returns:
        ``commit`` (hexadecimal digits) and ``branch``, each only where it is known. Empty outside of a repository.
    """
    try:
        folder = _repository((start or _program_folder()).absolute())
        return {} if folder is None else _head(folder)
    except (OSError, ValueError):  # what cannot be read, or is no path
        return {}


def _program_folder() -> Path:
    path = getattr(sys.modules.get("__main__"), "__file__", None)
    # A program that was installed is not what is trained: pytest, torchrun, a notebook's kernel.
    if not isinstance(path, str) or "site-packages" in path or path.startswith(sys.prefix + os.sep):
        return Path.cwd()
    return Path(path).absolute().parent


def _repository(folder: Path) -> Path | None:
    """Give the folder that has HEAD, of the repository that `folder` is in."""
    for candidate in (folder / ".git", *(parent / ".git" for parent in folder.parents)):
        if candidate.is_dir():
            return candidate
        # A work tree or a submodule has a file that names the folder.
        text = _read(candidate)
        if text.startswith("gitdir:"):
            return candidate.parent / text.removeprefix("gitdir:").strip()
    return None


def _head(folder: Path) -> dict[str, str]:
    head = _read(folder / "HEAD").strip()
    if not head.startswith("ref:"):
        return {"commit": head} if _is_hash(head) else {}
    reference = head.removeprefix("ref:").strip()
    branch = {"branch": reference.removeprefix("refs/heads/")}
    commit = _commit_of(folder, reference)
    return branch if commit is None else {"commit": commit, **branch}


def _commit_of(folder: Path, reference: str) -> str | None:
    if not reference.startswith("refs/") or ".." in reference:
        return None
    for place in (folder, folder / _read(folder / "commondir").strip()):
        text = _read(place / reference).strip()
        if _is_hash(text):
            return text
        for line in _read(place / "packed-refs").splitlines():
            commit, _, name = line.partition(" ")
            if name == reference and _is_hash(commit):
                return commit
    return None


def _is_hash(text: str) -> bool:
    return len(text) in _HASH_LENGTHS and _HEX.issuperset(text)


def _read(path: Path) -> str:
    """Give the text of a regular file; empty if there is none."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode("utf-8", "replace")
