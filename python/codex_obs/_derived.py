"""What follows from a run's parameters: the seed and the effective batch size, where they are known."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_ACCUMULATION_KEYS = (
    "grad_accum",
    "grad_accum_steps",
    "gradient_accumulation_steps",
    "accumulate_grad_batches",
)


def derived_parameters(
    config: Mapping[str, object], world_size: int | None, note: Callable[[str], None] | None = None
) -> dict[str, object]:
    """Derive what `params.ndjson` says beside the parameters themselves.

    Args:
        config: Parameters of the run. Read are ``seed``, ``effective_batch_size``, ``batch_size``, ``world_size`` and
            the usual names of gradient accumulation (``grad_accum``, ``grad_accum_steps``,
            ``gradient_accumulation_steps``, ``accumulate_grad_batches``).
        world_size: Processes of the job, if `config` does not say; None if that is unknown.
        note: Hears of values that raised when they were asked for their number.

    Returns:
        ``seed`` as it stands, and ``effective_batch_size``: as it stands, else batch size x accumulation x processes.
        What is not known is left out.
    """
    derived: dict[str, object] = {}
    if config.get("seed") is not None:
        derived["seed"] = config["seed"]
    size = _effective_batch_size(config, world_size, note or (lambda _: None))
    if size is not None:
        derived["effective_batch_size"] = size
    return derived


def _effective_batch_size(
    config: Mapping[str, object], world_size: int | None, note: Callable[[str], None]
) -> int | None:
    if "effective_batch_size" in config:
        return _count("effective_batch_size", config["effective_batch_size"], note)
    accumulation = next(((key, config[key]) for key in _ACCUMULATION_KEYS if key in config), ("", 1))
    size = 1
    for name, value in (
        ("batch_size", config.get("batch_size")),
        accumulation,
        ("world_size", config.get("world_size", world_size)),
    ):
        factor = _count(name, value, note)
        if factor is None:
            return None
        size *= factor
    return size


def _count(name: str, value: object, note: Callable[[str], None]) -> int | None:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        number = operator.index(value)
    except TypeError:
        # An array of several elements, or of fractions: no whole number, as a text is none.
        return None
    except Exception as error:  # noqa: BLE001 - a stranger's object may raise anything; the user hears of it
        note(f"effective_batch_size is left out: {name} gives no number ({type(error).__name__}: {error})")
        return None
    return number if number > 0 else None
