"""JSON that has integers of any length: Python itself refuses to read one of more than 4,300 digits."""

from __future__ import annotations

import json


def loads(text: str | bytes) -> object:
    """Read a document. An integer that Python does not read is there as text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        raise
    except ValueError:
        return json.loads(text, parse_int=_integer)


def _integer(text: str) -> int | str:
    try:
        return int(text)
    except ValueError:
        return text
