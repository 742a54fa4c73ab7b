"""Ranks that no variable tells, but an initialised framework does.

The frameworks themselves are too large to install for this: modules with the same public functions stand in for them.
"""

from __future__ import annotations

import sys
from types import ModuleType, SimpleNamespace
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs._rank import Rank, rank_of

if TYPE_CHECKING:
    from pathlib import Path


def module(name: str, **members: object) -> ModuleType:
    made = ModuleType(name)
    vars(made).update(members)
    return made


def torch(rank: int = 3, size: int = 8, *, available: bool = True, initialised: bool = True) -> ModuleType:
    """Make what stands in for `torch.distributed`, with its public functions of those names."""

    def answer(number: int) -> int:
        if not initialised:
            raise RuntimeError(
                "Default process group has not been initialized, please make sure to call init_process_group."
            )
        return number

    return module(
        "torch.distributed",
        is_available=lambda: available,
        is_initialized=lambda: initialised,
        get_rank=lambda: answer(rank),
        get_world_size=lambda: answer(size),
    )


def jax(*, initialised: bool = True) -> ModuleType:
    """Make what stands in for `jax`, whose public functions start the devices: they are the last to be asked."""
    return module(
        "jax",
        distributed=SimpleNamespace(is_initialized=lambda: initialised),
        process_index=lambda: 5,
        process_count=lambda: 6,
    )


def test_torch_distributed_tells_rank_and_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", torch())
    assert rank_of(None, {}) == Rank(3, 8)
    # What a launcher says of the rank comes first; the framework gives what it does not say.
    assert rank_of(1, {}) == Rank(1, 8)
    assert rank_of(1, {"WORLD_SIZE": "4"}) == Rank(1, 4)


@pytest.mark.parametrize("state", [{"available": False}, {"initialised": False}], ids=str)
def test_torch_without_a_process_group_tells_nothing(monkeypatch: pytest.MonkeyPatch, state: dict[str, bool]) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", torch(**state))
    assert rank_of(None, {}) == Rank(None, None)


def test_jax_tells_rank_size_and_the_address_without_starting_its_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    def starts_devices() -> int:
        raise AssertionError("this starts the devices")

    state = SimpleNamespace(client=object(), process_id=2, num_processes=4, coordinator_address="10.0.0.1:1234")
    found = jax()
    vars(found).update(process_index=starts_devices, process_count=starts_devices)
    monkeypatch.setitem(sys.modules, "jax", found)
    monkeypatch.setitem(sys.modules, "jax._src.distributed", module("jax._src.distributed", global_state=state))
    assert rank_of(None, {}) == Rank(2, 4, address="10.0.0.1:1234")


@pytest.mark.parametrize(
    "state", [None, SimpleNamespace(), SimpleNamespace(client=None), SimpleNamespace(client=1, process_id="x")], ids=str
)
def test_a_jax_whose_state_looks_otherwise_is_asked_by_its_public_functions(
    monkeypatch: pytest.MonkeyPatch, state: object
) -> None:
    monkeypatch.setitem(sys.modules, "jax", jax())
    monkeypatch.setitem(sys.modules, "jax._src.distributed", module("jax._src.distributed", global_state=state))
    assert rank_of(None, {}) == Rank(5, 6)


def test_jax_without_distributed_processes_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jax", jax(initialised=False))
    assert rank_of(None, {}) == Rank(None, None)


def test_a_framework_that_raises_is_no_answer_and_the_next_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    broken = torch()
    vars(broken)["is_initialized"] = lambda: 1 / 0
    monkeypatch.setitem(sys.modules, "torch.distributed", broken)
    monkeypatch.setitem(sys.modules, "jax", jax())
    assert rank_of(None, {}) == Rank(5, 6)


def test_init_writes_the_stream_of_that_rank(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "torch.distributed", torch(rank=2, size=3))
    with codex_obs.init(tmp_path / "given") as run:
        run.log({"loss": 1.0}, step=0)
    assert run.stream == "rank-2"
    assert caplog.messages == []
