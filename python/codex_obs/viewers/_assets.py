"""The files of the page: its own modules, and those of the chart library where that is installed."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

STATIC = Path(__file__).parent / "static"
INSTALL = "pip install 'codex-obs[view]'"

# What the page takes from the chart library; the names under which the package ships them.
_LIBRARY_FILES = ("uPlot.iife.js", "uPlot.min.css")
_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}


class MissingPackageError(Exception):
    """A package of the extra is not installed; the text says how to install it."""


def assets() -> dict[str, Path]:
    """Give every file of the page by its name.

    The chart library's Python package is not imported: only files of it are read.

    Raises:
        MissingPackageError: If the chart library is not installed.
    """
    spec = find_spec("uplot")
    folders = [Path(folder) / "static" for folder in (spec and spec.submodule_search_locations) or ()]
    # Another package has the same name, and none of these files.
    folder = next((folder for folder in folders if all((folder / name).is_file() for name in _LIBRARY_FILES)), None)
    if folder is None:
        raise MissingPackageError(f"The charts need uplot-python: {INSTALL}")
    return {path.name: path for path in STATIC.iterdir() if path.suffix in _TYPES} | {
        name: folder / name for name in _LIBRARY_FILES
    }


def media_type(name: str) -> str:
    """Give the type of a file of the page."""
    return _TYPES[Path(name).suffix]
