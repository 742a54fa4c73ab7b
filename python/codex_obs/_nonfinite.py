"""How a number is spelled that is none in JSON, as in the engine's rows."""

from __future__ import annotations

import math

NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def word(number: float) -> str:
    """Return the word for a number that is not finite."""
    return next(word for word, known in NUMBERS.items() if known == number or math.isnan(number))
