"""The ``extra`` of a record in ``tracking_summary.ndjson``: what every one of them has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NOT_PROBED: Mapping[str, bool | None] = {"psutil_available": None, "nvml_available": None}


def extra(
    own: Mapping[str, object], totals: Mapping[str, int], dependencies: Mapping[str, bool | None] = _NOT_PROBED
) -> dict[str, object]:
    """Return the record's own members, and those that every record has.

    Args:
        own: The record's own.
        totals: What was counted so far.
        dependencies: What was found of optional packages; None for what was not probed.
    """
    return {**own, "dependencies": dict(dependencies), "totals": dict(totals)}
