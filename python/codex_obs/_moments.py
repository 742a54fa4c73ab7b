"""Times and durations as text."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_NOTHING = "-"
_MINUTE_S = 60
_HOUR_S = 3600
_DAY_S = 86400


def moment_text(micros: int) -> str:
    """Write a time as rows do: UTC, six fractional digits, ``Z``."""
    moment = _EPOCH + timedelta(microseconds=micros)
    return moment.replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def duration_text(seconds: float | None) -> str:
    """Write a duration in two units at most: ``0.4s``, ``59s``, ``12m30s``, ``3h05m``, ``2d04h``."""
    if seconds is None:
        return _NOTHING
    if seconds < 10:  # noqa: PLR2004 - below this a tenth says something
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02}h"
