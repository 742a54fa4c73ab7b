"""Names of runs. A name that becomes a folder is one path component and nothing else."""

from __future__ import annotations

import os
import time

from codex_obs.errors import SettingError

RUNS_ROOT = "runs"
_MAX_BYTES = 255  # the longest file name of every Linux file system


def folder_name(name: object, *, origin: str) -> str:
    """Check a name that is to become a folder under ``runs``.

    Args:
        name: The name, from an argument or a launcher's variable.
        origin: Where it comes from, for the error.

    Returns:
        The name as it is.

    Raises:
        SettingError: If it is not text, is empty, could lead elsewhere, cannot be shown, or is too long for a folder.
    """
    problem = _problem(name)
    if problem or not isinstance(name, str):
        raise SettingError(
            f"{origin}={_shown(name)} cannot be the name of a run: {problem}. Give another name, or a run_dir."
        )
    return name


def label(name: object) -> str:
    """Check a name that is only shown, because the run directory was given.

    Raises:
        SettingError: If it is not text or is empty.
    """
    if not isinstance(name, str) or not name:
        raise SettingError(f"name={_shown(name)} cannot be the name of a run: give text, or leave it out.")
    return name


def default_name(now_s: float, entropy: bytes) -> str:
    """Make the name of a run that was given none: UTC time and hex digits, such as ``20261120T081530Z-3fa2``."""
    return f"{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime(now_s))}-{entropy.hex()}"


def new_run_id() -> str:
    """Draw an identity: a random UUID (RFC 9562, version 4). The module `uuid` takes longer to import than this."""
    drawn = bytearray(os.urandom(16))
    drawn[6] = drawn[6] & 0x0F | 0x40
    drawn[8] = drawn[8] & 0x3F | 0x80
    text = drawn.hex()
    return "-".join((text[:8], text[8:12], text[12:16], text[16:20], text[20:]))


def _problem(name: object) -> str:
    if not isinstance(name, str):
        return "it is not text"
    if not name:
        return "it is empty"
    if name in (os.curdir, os.pardir) or "/" in name:
        return "it would lead to another folder"
    if not name.isprintable():
        return "it has characters that cannot be shown"
    if len(name.encode()) > _MAX_BYTES:
        return f"it has more than {_MAX_BYTES} bytes"
    return ""


def _shown(name: object) -> str:
    limit = 80
    text = ascii(name) if isinstance(name, str) else f"<{type(name).__name__}>"
    return text if len(text) <= limit else f"{text[:limit]}…"
