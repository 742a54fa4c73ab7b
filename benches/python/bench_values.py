"""What values cost that hold one number and are no float, beside reading each of them before the call."""

from __future__ import annotations

import json
import operator
from importlib import import_module
from typing import TYPE_CHECKING

import numpy as np
import pytest

from loggers import is_installed, metrics_of, open_ours
from race import race, replayed, report, timed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from pytest_benchmark.fixture import BenchmarkFixture

    from conftest import Figures
    from loggers import Ours

    Read = Callable[[object], float]

CALLS = 2_000
WIDTH = 8

pytestmark = replayed


class Number:
    def __init__(self, number: float) -> None:
        self._number = number

    def __float__(self) -> float:
        return self._number


def torch_tensor(number: float) -> object:
    return import_module("torch").tensor(number)


def torch_integer(number: float) -> object:
    return import_module("torch").tensor(round(number))


def jax_array(number: float) -> object:
    return import_module("jax.numpy").array(number).block_until_ready()


ITEM: Read = operator.methodcaller("item")
# How a value is made, and how a program reads it.
KINDS: dict[str, tuple[str, Callable[[float], object], Read]] = {
    "NumPy arrays": ("numpy", np.array, ITEM),
    "NumPy integers": ("numpy", lambda number: np.array(round(number)), ITEM),
    "objects with __float__": ("numpy", Number, float),
    "torch tensors": ("torch", torch_tensor, ITEM),
    "torch integers": ("torch", torch_integer, ITEM),
    "JAX arrays": ("jax", jax_array, ITEM),
}


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ours]:
    logger = open_ours(tmp_path_factory.mktemp("ours"))
    yield logger
    logger.close()


def as_they_are(log: Callable[..., None], values: Mapping[str, object]) -> Callable[[], None]:
    items = list(values.items())

    def work() -> None:
        for step in range(CALLS):
            log({name: value for name, value in items}, step=step)  # noqa: C416 - as dear as the dict of the other

    return work


def read_before(log: Callable[..., None], values: Mapping[str, object], read: Read) -> Callable[[], None]:
    items = list(values.items())

    def work() -> None:
        for step in range(CALLS):
            log({name: read(value) for name, value in items}, step=step)

    return work


@pytest.mark.parametrize("kind", KINDS)
def test_values_that_hold_one_number(benchmark: BenchmarkFixture, figures: Figures, ours: Ours, kind: str) -> None:
    package, make, read = KINDS[kind]
    if not is_installed(package):
        pytest.skip(f"{package} is not installed here")
    values = {name: make(number) for name, number in metrics_of(WIDTH).items()}
    ours.log(values, step=0)
    ours.settle()
    written = [json.loads(line)["value"] for line in ours.file.read_text().splitlines()[-WIDTH:]]
    assert written == [float(read(value)) for value in values.values()]
    comparison, peer = f"log, 8 {kind}", "read before"
    seconds = race(
        {
            "codex_obs": timed(CALLS, as_they_are(ours.log, values), ours.settle),
            peer: timed(CALLS, read_before(ours.log, values, read), ours.settle),
        }
    )
    figures.compare(comparison, peer, seconds[peer])
    report(benchmark, figures, comparison, "codex_obs", seconds["codex_obs"])
    figures.allow(comparison, peer, 1.0)
