"""GPUs: what every kind of them gives, and how they are put together."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

# Of each, in this order.
FIELDS: Final = ("index", "uuid", "name", "util", "mem_used", "mem_total", "temp_c", "power_w", "processes")


class GpuError(Exception):
    """The GPUs of a kind cannot be sampled; the text says why."""


@dataclass
class Gpus:
    """The GPUs of one kind at one moment.

    Attributes:
        found: The fields of each GPU, None where one cannot be had.
        errors: What went wrong.
        notes: What these GPUs never tell.
    """

    found: list[dict[str, object]] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def mean_util(gpus: list[dict[str, object]]) -> float | None:
    """Give the mean of what is known of the GPUs' utilisation."""
    known = [util for gpu in gpus if isinstance(util := gpu["util"], int | float)]
    return round(sum(known) / len(known), 1) if known else None
