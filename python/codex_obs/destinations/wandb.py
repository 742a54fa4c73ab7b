"""Weights & Biases: the setting that says whether there is a run, and which of its client's variables count.

Nothing is written here.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from codex_obs._settings.entry import Entry, EnvVar
from codex_obs._settings.kinds import Choice

if TYPE_CHECKING:
    from collections.abc import Mapping

SETTINGS: Mapping[str, Entry] = MappingProxyType(
    {
        "wandb": Entry(
            ("CODEX_OBS_WANDB",),
            Choice(("offline", "online", "disabled")),
            None,
            "`offline`: write an offline run of W&B to `wandb/` in the run directory, for `wandb sync`. `online`: send "
            "it to W&B. Or `disabled`.",
            default_text="off",
        ),
    }
)

MODE = "WANDB_MODE"
DISABLED = "WANDB_DISABLED"
# What its own client takes for true in the second one.
TRUE = frozenset({"1", "true", "yes", "on"})

VARIABLES = (
    EnvVar(MODE, "none", "`disabled`: there is no run of W&B, whatever CODEX_OBS_WANDB says."),
    EnvVar(DISABLED, "off", "1, true, yes or on: the same."),
    EnvVar("WANDB_PROJECT", "none", "Project of a run of W&B."),
    EnvVar("WANDB_ENTITY", "the user who uploads it", "User or team of a run of W&B."),
    EnvVar("WANDB_NAME", "the run's name", "Name of a run of W&B."),
    EnvVar("WANDB_TAGS", "none", "Tags of a run of W&B, separated by commas."),
    EnvVar("WANDB_RUN_GROUP", "none", "Group of a run of W&B."),
    EnvVar("WANDB_JOB_TYPE", "none", "Kind of job of a run of W&B."),
    EnvVar("WANDB_NOTES", "none", "Notes of a run of W&B."),
)
