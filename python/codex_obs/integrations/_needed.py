"""Frameworks are imported through here, so that a missing one is answered with what to install."""

from __future__ import annotations

from importlib import import_module
from typing import Any


def needed(module: str, *, extra: str) -> Any:  # noqa: ANN401 - any module
    """Import a module of a framework.

    Args:
        module: Its full name.
        extra: What installs it, as an extra of this package.

    Raises:
        ModuleNotFoundError: If it is not installed; the text names the extra.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise
        raise ModuleNotFoundError(
            f"{module} is not installed: pip install 'codex-obs[{extra}]'", name=error.name
        ) from None
