"""Rules of the house that no linter knows: layers, public names, length of files."""

from __future__ import annotations

import ast
import importlib
from pathlib import Path

import pytest

import codex_obs

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "python" / "codex_obs"
MAX_LINES = 500

# Lowest first. A module imports from lower layers and from its own, never from higher ones.
LAYERS = (
    ("errors", "types"),
