"""CUDA tensors, on a machine that has a GPU: `deferred="cuda"` logs what they held, and waits for nothing."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from codex_obs.testing import open_run, read_rows

if TYPE_CHECKING:
    from pathlib import Path

torch = pytest.importorskip("torch", reason="needs PyTorch")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"),
]
# About half a second of an H200.
SLEEP_CYCLES = 1_000_000_000
STEPS = 20


def test_a_tensor_is_logged_as_it_was_and_the_loop_does_not_wait(tmp_path: Path) -> None:
    total = torch.zeros((), device="cuda")
    with open_run(tmp_path / "run", deferred="cuda") as run:
        run.log({"total": total}, step=0)
        torch.cuda.synchronize()
        torch.cuda._sleep(SLEEP_CYCLES)
        started = time.perf_counter()
        for step in range(1, STEPS):
            total += 1
            run.log({"total": total}, step=step)
        assert time.perf_counter() - started < 0.1
        assert run.stats()["rows_waiting"] > 0
        assert run.flush(60)
    assert [(row["step"], row["value"]) for row in read_rows(tmp_path / "run")] == [
        (step, float(step)) for step in range(STEPS)
    ]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int64", "bool"])
def test_every_kind_of_number_arrives(tmp_path: Path, dtype: str) -> None:
    with open_run(tmp_path / "run", deferred="cuda") as run:
        torch.cuda._sleep(SLEEP_CYCLES // 10)
        run.log({"one": torch.ones((), dtype=getattr(torch, dtype), device="cuda")})
        run.log({"one": torch.ones((1, 1), dtype=getattr(torch, dtype), device="cuda")})
        assert run.flush(60)
    assert [row["value"] for row in read_rows(tmp_path / "run")] == [1, 1]
