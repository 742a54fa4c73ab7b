"""The file of the samples: one line each, rotated and packed as the logs of a run are."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from codex_obs import _backend
from codex_obs._settings.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping


class SampleLog:
    """A file that samples are appended to, by one process. It and its folder are made when they are needed.

    Args:
        path: The file.
        settings: What says when it is rotated and what becomes of old shards; None for the environment's.

    Attributes:
        problem: Why an old shard could not be packed or deleted, which costs no sample and is tried again; else None.
    """

    def __init__(self, path: str | os.PathLike[str], settings: Settings | None = None) -> None:
        self._log = _backend.LineLog(os.path.abspath(path), settings or Settings())  # noqa: PTH100 - text
        self.problem: str | None = None

    def write(self, sample: Mapping[str, object]) -> None:
        """Append a sample as a line, in one piece.

        Raises:
            CodexObsError: If it could not be written; half of it is set aside by the next call.
        """
        line = json.dumps(sample, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        try:
            is_due = self._log.append(line)
        except _backend.CoreError as error:
            raise _backend.public_error(error) from None
        if is_due:
            self._settle()

    def _settle(self) -> None:
        try:
            self._log.settle()
        except _backend.CoreError as error:
            self.problem = str(_backend.public_error(error))
        else:
            self.problem = None
