"""Words of memory by which a test tells a file system in user space how much goes wrong."""

from __future__ import annotations

# How many of a thousand operations go wrong, and how many did.
PER_MILLE, FAULTS = 0, 1
