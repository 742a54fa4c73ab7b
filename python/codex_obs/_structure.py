"""Configurations of many runs as one column: a struct with a field for each key, of the type that its values have."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    import polars as pl

# An object with more keys than this, over all runs, becomes JSON text: a column each would be larger than the data.
MAX_FIELDS = 1000
_MAX_DEPTH = 64
_INT64 = range(-(2**63), 2**63)


def config_series(name: str, texts: Sequence[str | None]) -> pl.Series:
    """Make a column of JSON objects.

    Values of one key are Int64, Float64 (integers among them too), Boolean, String, a list of one of these, or a struct
    again. Where the values of different runs go together in no other way, they are JSON text.

    Args:
        name: Name of the column.
        texts: JSON objects, or None where there is none.
    """
    known: dict[str | None, dict[str, object] | None] = {None: None}
    objects = []
    for text in texts:
        if text not in known:
            known[text] = _parsed(text)
        objects.append(known[text])
    return _struct(name, objects, 0)


def _parsed(text: str | None) -> dict[str, object] | None:
    value = json.loads(text or "null")
    return value if isinstance(value, dict) else None


def _struct(name: str, objects: Sequence[dict[str, object] | None], depth: int) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    keys = list(dict.fromkeys(key for one in objects if one for key in one))
    if len(keys) > MAX_FIELDS or depth > _MAX_DEPTH:
        return _as_text(name, objects)
    columns = [_column(key, [None if one is None else one.get(key) for one in objects], depth) for key in keys]
    if not columns:
        return pl.Series(name, [None if one is None else {} for one in objects], pl.Struct([]))
    struct = pl.DataFrame(columns).to_struct(name)
    is_missing = pl.Series([one is None for one in objects], dtype=pl.Boolean)
    if not is_missing.any():
        return struct
    frame = struct.to_frame().select(pl.when(~is_missing).then(pl.col(name)).alias(name))
    return frame.to_series()


def _column(name: str, values: list[object], depth: int) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    kinds = {type(value) for value in values if value is not None}
    if kinds == {dict}:
        return _struct(name, values, depth + 1)  # type: ignore[arg-type]  # the kinds say what they are
    if kinds == {list}:
        items = {type(item) for value in values if isinstance(value, list) for item in value if item is not None}
        inner = _scalar_type(items, (item for value in values if isinstance(value, list) for item in value))
        return _as_text(name, values) if inner is None else pl.Series(name, values, pl.List(inner), strict=False)
    scalar = _scalar_type(kinds, values)
    return _as_text(name, values) if scalar is None else pl.Series(name, values, scalar, strict=False)


def _scalar_type(kinds: set[type], values: object) -> pl.DataType | None:
    """Give the type that plain values have in common; None if there is none."""
    import polars as pl  # noqa: PLC0415 - loaded on first use

    if not kinds:
        return pl.Null()
    if kinds == {bool}:
        return pl.Boolean()
    if kinds == {str}:
        return pl.String()
    if kinds <= {int, float}:
        # An integer of more than 64 bits, or one that a float would change, keeps its digits as text.
        integers = [value for value in values if type(value) is int]  # type: ignore[attr-defined]  # iterable
        if kinds == {int} and all(value in _INT64 for value in integers):
            return pl.Int64()
        if float in kinds and all(abs(value) <= 1 << 53 for value in integers):
            return pl.Float64()
    return None


def _as_text(name: str, values: Sequence[object]) -> pl.Series:
    import polars as pl  # noqa: PLC0415 - loaded on first use

    texts = [None if value is None else json.dumps(value, separators=(",", ":")) for value in values]
    return pl.Series(name, texts, pl.String)
