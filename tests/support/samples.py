"""Samples of the machine as the schema in the package has them."""

from __future__ import annotations

import importlib.resources
import json
from typing import Any

from jsonschema import Draft202012Validator

SCHEMA = json.loads((importlib.resources.files("codex_obs") / "schemas" / "system_metrics.schema.json").read_text())
ORDER = [name for name in SCHEMA["properties"] if name != "plugins"]
_VALIDATOR = Draft202012Validator(SCHEMA)


def valid(sample: dict[str, object]) -> dict[str, Any]:
    """Check a sample and give it as it is read back."""
    _VALIDATOR.validate(sample)
    again: dict[str, Any] = json.loads(json.dumps(sample, allow_nan=False))
    return again
