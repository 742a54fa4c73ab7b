"""TensorBoard's event files: the setting that says whether they are written, and where. Nothing is written here."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from codex_obs._settings.entry import Entry
from codex_obs._settings.kinds import Folder

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS: Mapping[str, Entry] = MappingProxyType(
    {
        "tensorboard": Entry(
            ("CODEX_OBS_TENSORBOARD",),
            Folder(),
            default=False,
            meaning="1, true, yes or on: write event files for TensorBoard to `tensorboard/` in the run directory. "
            "Anything else that is not off is the folder that they are written to.",
            default_text="off",
        ),
    }
)
