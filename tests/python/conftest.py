"""What the tests of the Python layer share: no run stays open from one test to the next."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from codex_obs import _open_runs

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(autouse=True)
def _no_run_stays_open() -> Iterator[None]:
    yield
    for run in _open_runs.all_open():
        run.close()
