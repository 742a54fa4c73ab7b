"""What wrote a run: the versions of Python, of this package, and of libraries that values come from."""

from __future__ import annotations

import sys

from codex_obs import _backend

# Written into the start record if the program has imported them by then; they are never imported for it.
_LIBRARIES = ("numpy", "torch", "jax", "tensorflow")


def versions() -> dict[str, str]:
    """Return them by name."""
    found = {"python": sys.version.split(maxsplit=1)[0], "codex_obs": _backend.__version__}
    for library in _LIBRARIES:
        version = getattr(sys.modules.get(library), "__version__", None)
        if isinstance(version, str):
            found[library] = str(version)
    return found
