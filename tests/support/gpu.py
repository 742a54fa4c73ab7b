"""A stand-in for as much of PyTorch as logging a CUDA tensor takes. It writes down what it is asked for."""

from __future__ import annotations

import sys
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest


class Tensor:
    is_cuda, shape, dtype, device = True, (), "float32", "cuda:0"

    def __init__(self, calls: list[str], number: float = 0.0) -> None:
        self.calls = calls
        self.number = number

    def numel(self) -> int:
        self.calls.append("numel")
        return 1

    def detach(self) -> Tensor:
        self.calls.append("detach")
        return self

    def clone(self) -> Tensor:
        self.calls.append("clone")
        return Tensor(self.calls, self.number)

    def copy_(self, other: Tensor, *, non_blocking: bool) -> None:
        assert non_blocking
        self.number = other.number

    def record_stream(self, _: object) -> None:
        self.calls.append("record_stream")

    def item(self) -> float:
        return self.number


class Recorder:
    """A class of PyTorch, an object of it, or a context manager."""

    def __init__(self, name: str, calls: list[str], arrived: threading.Event) -> None:
        self.name = name
        self.calls = calls
        self.arrived = arrived

    def __call__(self, *_: object) -> Recorder:
        return self

    def __enter__(self) -> None:
        self.calls.append(self.name)

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> object:
        def call(*_: object) -> bool:
            self.calls.append(f"{self.name}.{name}")
            return self.arrived.is_set()

        return call


def calls_of(monkeypatch: pytest.MonkeyPatch) -> tuple[list[str], threading.Event]:
    """Put the stand-in in PyTorch's place. Give what it is asked for, and what says that a copy has arrived."""
    calls: list[str] = []
    arrived = threading.Event()
    cuda = SimpleNamespace(
        is_current_stream_capturing=lambda: False,
        Stream=Recorder("Stream", calls, arrived),
        Event=Recorder("Event", calls, arrived),
        current_stream=lambda _: "current",
        stream=Recorder("stream", calls, arrived),
    )
    torch = SimpleNamespace(
        Tensor=Tensor,
        nn=SimpleNamespace(Parameter=float),
        no_grad=Recorder("no_grad", calls, arrived),
        empty=lambda *_, **given: Tensor(calls) if given["pin_memory"] else None,
        cuda=cuda,
    )
    monkeypatch.setitem(sys.modules, "torch", torch)
    return calls, arrived
