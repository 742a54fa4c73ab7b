"""What a case of a test is called: the same in every process."""

from __future__ import annotations

import re


def label(value: object) -> str:
    """Show a value without the address of an object."""
    return re.sub(r" at 0x[0-9a-f]+", "", repr(value))
