"""Where ``codex-ndjson sync --to otlp`` delivers to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from codex_obs._settings import environment
from codex_obs.commands._input import InputError
from codex_obs.destinations import otlp

if TYPE_CHECKING:
    from pathlib import Path

    from codex_obs._backend import Destination
    from codex_obs._settings.settings import Settings

_NO_ADDRESS = f"No collector is named: give --uri, or set {otlp.ENDPOINT}, such as http://127.0.0.1:4318."
_IS_OFF = "OTEL_SDK_DISABLED is true, which switches traces off: unset it."


def collector(settings: Settings, uri: str | None, path: Path) -> Destination:
    """Give the collector of an option, else the one that the environment names.

    Raises:
        SettingError: If nothing names one, or it cannot be used.
        InputError: If traces are switched off.
    """
    from codex_obs import _export  # noqa: PLC0415 - loads the extension, which --help does not need

    target = otlp.read(environment.of_otlp(), enabled=True, needs_endpoint=False)
    if target.is_enabled and target.endpoint is None and uri is None:
        raise InputError(_NO_ADDRESS)
    if uri is not None:
        target = target._replace(endpoint=uri, named_by="--uri", is_whole=False)
    found = _export.otlp(settings, target, known_at=path)
    if found is None:
        raise InputError(_IS_OFF)
    return found
