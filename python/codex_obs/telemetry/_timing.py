"""How long things take, and how many there were."""

from __future__ import annotations

import inspect
import time
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar, cast

from codex_obs._telemetry.timing import Key, observe

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Mapping
    from types import TracebackType
    from typing import Self

_Function = TypeVar("_Function", bound="Callable[..., Any]")
_clock = time.perf_counter


def count(name: str, n: float = 1, *, labels: Mapping[str, str] | None = None, events: bool = False) -> None:
    """Count something: ``count("examples_processed", 32)`` is a counter ``examples_processed_total``.

    Args:
        name: What is counted.
        n: How many more.
        labels: What tells it from others of the name.
        events: Write a line at once, instead of gathering for ten seconds, which a kill may cost.

    Raises:
        ValueError: If `n` is negative.
    """
    if not n >= 0:
        raise ValueError("a count only grows: n must not be negative")
    observe(Key(name, _sorted(labels), is_count=True), n, at_once=events)


def track_time(name: str, *, labels: Mapping[str, str] | None = None, events: bool = False) -> TrackTime:
    """Measure how long something takes: ``track_time("train_step")`` is a histogram ``train_step_seconds``.

    Used as ``with track_time("x"):`` or as a decorator of functions, coroutines, generators and async generators. Of a
    generator only the time inside of it counts, all of it as one duration.

    Args:
        name: What is timed.
        labels: What tells it from others of the name.
        events: Write a line for each duration at once, instead of gathering for ten seconds, which a kill may cost.
    """
    return TrackTime(Key(name, _sorted(labels), is_count=False), at_once=events)


class TrackTime:
    """What `track_time` gives: a context manager and a decorator."""

    def __init__(self, key: Key, *, at_once: bool) -> None:
        self._key = key
        self._at_once = at_once
        self._began: list[float] = []

    def __enter__(self) -> Self:
        self._began.append(_clock())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._note(_clock() - self._began.pop())

    def __call__(self, function: _Function) -> _Function:
        """Decorate a function."""
        if inspect.isasyncgenfunction(function):
            timed = self._of_async_generator(function)
        elif inspect.isgeneratorfunction(function):
            timed = self._of_generator(function)
        elif inspect.iscoroutinefunction(function):
            timed = self._of_coroutine(function)
        else:
            timed = self._of_function(function)
        return cast("_Function", wraps(function)(timed))

    def _note(self, seconds: float) -> None:
        observe(self._key, seconds, at_once=self._at_once)

    def _of_function(self, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: object, **named: object) -> object:
            began = _clock()
            try:
                return function(*arguments, **named)
            finally:
                self._note(_clock() - began)

        return timed

    def _of_coroutine(self, function: Callable[..., Any]) -> Callable[..., Any]:
        async def timed(*arguments: object, **named: object) -> object:
            began = _clock()
            try:
                return await function(*arguments, **named)
            finally:
                self._note(_clock() - began)

        return timed

    def _of_generator(self, function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
        def timed(*arguments: object, **named: object) -> Generator[Any, Any, Any]:
            inner = function(*arguments, **named)
            spent = _Spent()
            try:
                resume: Callable[[], Any] = inner.__next__
                while True:
                    with spent:
                        try:
                            value = resume()
                        except StopIteration as stop:
                            return stop.value
                    try:
                        sent = yield value
                    except GeneratorExit:
                        with spent:
                            inner.close()
                        raise
                    except BaseException as error:  # noqa: BLE001 - what is thrown in goes on inside
                        resume = _throwing(inner, error)
                    else:
                        resume = _sending(inner, sent)
            finally:
                self._note(spent.seconds)

        return timed

    def _of_async_generator(self, function: Callable[..., AsyncGenerator[Any, Any]]) -> Callable[..., Any]:
        async def timed(*arguments: object, **named: object) -> AsyncGenerator[Any, Any]:
            inner = function(*arguments, **named)
            spent = _Spent()
            try:
                resume: Callable[[], Any] = inner.__anext__
                while True:
                    with spent:
                        try:
                            value = await resume()
                        except StopAsyncIteration:
                            return
                    try:
                        sent = yield value
                    except GeneratorExit:
                        with spent:
                            await inner.aclose()
                        raise
                    except BaseException as error:  # noqa: BLE001 - as above
                        resume = _throwing_async(inner, error)
                    else:
                        resume = _sending_async(inner, sent)
            finally:
                self._note(spent.seconds)

        return timed


class _Spent:
    """Time inside of a generator, stretch by stretch."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self._began = 0.0

    def __enter__(self) -> None:
        self._began = _clock()

    def __exit__(self, *_: object) -> None:
        self.seconds += _clock() - self._began


def _sending(inner: Generator[Any, Any, Any], value: object) -> Callable[[], Any]:
    return lambda: inner.send(value)


def _throwing(inner: Generator[Any, Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: inner.throw(error)


def _sending_async(inner: AsyncGenerator[Any, Any], value: object) -> Callable[[], Any]:
    return lambda: inner.asend(value)


def _throwing_async(inner: AsyncGenerator[Any, Any], error: BaseException) -> Callable[[], Any]:
    return lambda: inner.athrow(error)


def _sorted(labels: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    return tuple(sorted((str(key), str(value)) for key, value in (labels or {}).items()))
