"""What the tests of integrations share."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from codex_obs import _open_runs

if TYPE_CHECKING:
    from collections.abc import Iterator

# Keras' own choice is TensorFlow, which is not installed.
os.environ.setdefault("KERAS_BACKEND", "jax")


@pytest.fixture(autouse=True)
def _no_run_stays_open() -> Iterator[None]:
    yield
    for run in _open_runs.all_open():
        run.close()
