"""What follows from a run's parameters: the seed and the effective batch size, where they are known."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, SupportsIndex

if TYPE_CHECKING:
    from collections.abc import Mapping

_ACCUMULATION_KEYS = (
    "grad_accum",
    "grad_accum_steps",
    "gradient_accumulation_steps",
    "accumulate_grad_batches",
)


def derived_parameters(config: Mapping[str, object], world_size: int | None) -> dict[str, object]:
    """Derive what `params.ndjson` says beside the parameters themselves.

    Args:
        config: Parameters of the run. Read are ``seed``, ``effective_batch_size``, ``batch_size``, ``world_size`` and
            the usual names of gradient accumulation (``grad_accum``, ``grad_accum_steps``,
            ``gradient_accumulation_steps``, ``accumulate_grad_batches``).
        world_size: Processes of the job, if `config` does not say; None if that is unknown.

    Returns:
        ``seed`` as it stands, and ``effective_batch_size``: as it stands, else batch size x accumulation x processes.
        What is not known is left out.
    """
    derived: dict[str, object] = {}
    if config.get("seed") is not None:
        derived["seed"] = config["seed"]
    size = _effective_batch_size(config, world_size)
    if size is not None:
        derived["effective_batch_size"] = size
    return derived


def _effective_batch_size(config: Mapping[str, object], world_size: int | None) -> int | None:
    if "effective_batch_size" in config:
        return _count(config["effective_batch_size"])
    accumulation = next((config[key] for key in _ACCUMULATION_KEYS if key in config), 1)
    size = 1
    for value in (config.get("batch_size"), accumulation, config.get("world_size", world_size)):
        factor = _count(value)
        if factor is None:
            return None
        size *= factor
    return size


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, SupportsIndex):
        return None
    try:
        number = operator.index(value)
    except Exception:  # noqa: BLE001 - an array with several elements, or a stranger's object: it is not known then
        return None
    return number if number > 0 else None
