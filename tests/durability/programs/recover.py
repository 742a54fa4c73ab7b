"""Recovers a run directory and says what that brought."""

from __future__ import annotations

import json
import sys

import codex_obs

print(json.dumps(codex_obs.recover(sys.argv[1])), flush=True)
