"""Where spans go beside the log, and whether they keep their content."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, NamedTuple

from codex_obs import _export, api
from codex_obs._settings import environment
from codex_obs._settings.addresses import hidden_user_info
from codex_obs._settings.settings import Settings
from codex_obs._telemetry.recording import wiring
from codex_obs.destinations.otlp import read
from codex_obs.errors import CodexObsError
from codex_obs.telemetry._exporters import Exporting

if TYPE_CHECKING:
    from collections.abc import Mapping

    from codex_obs._run import Run
    from codex_obs.telemetry._exporters import SpanExporter

_logger = logging.getLogger("codex_obs")
_lock = threading.RLock()


class Configuration(NamedTuple):
    """What is in force.

    Attributes:
        enabled: Whether spans go anywhere beside the log.
        endpoint: The collector, if they go to one; ``***`` stands for a user name and password.
        exporter: The exporter, if there is one.
        captures_content: Whether they keep their content.
    """

    enabled: bool
    endpoint: str | None
    exporter: SpanExporter | None
    captures_content: bool


def configure(
    env: Mapping[str, str] | None = None,
    *,
    enabled: bool | None = None,
    exporter: SpanExporter | None = None,
    capture_content: bool | None = None,
) -> Configuration:
    """Say where spans go beside the log, and read the environment anew for what is not said.

    It holds for runs that are opened from now on; what an open one was told stays. An exporter gets each span that
    ends, from now on, where it ends.

    Args:
        env: Read instead of the environment.
        enabled: Whether spans go to a collector. Default: ``CODEX_OTLP_ENABLE``.
        exporter: An exporter of the OpenTelemetry SDK, which gets them instead of a collector. It implies `enabled`.
        capture_content: Whether inputs, arguments, outputs, diffs and messages of exceptions are kept. Default:
            ``CODEX_OBS_CAPTURE_CONTENT``.

    Raises:
        SettingError: If a variable cannot be used, or nothing says where the collector is.
        ImportError: If an exporter is given and the OpenTelemetry SDK is not installed.
    """
    variables = environment.everything() if env is None else env
    target = read(variables, enabled=False if exporter is not None else enabled)
    captures = environment.captures_content(variables) if capture_content is None else capture_content
    exporting = None if exporter is None else Exporting(exporter, target.resource)
    # An address that cannot be used is said here.
    _export.otlp(Settings(), target)
    with _lock:
        _export.send_spans_to(target)
        wiring.content = captures
        wiring.export = None if exporting is None else exporting.export
        wiring.open_run = _Opening().run
    is_enabled = target.is_enabled or exporter is not None
    endpoint = None if target.endpoint is None or not target.is_enabled else hidden_user_info(target.endpoint)
    return Configuration(is_enabled, endpoint, exporter, captures)


class _Opening:
    """Opens a run for the first event, so that spans that are to go to a collector have a log to go by."""

    def __init__(self) -> None:
        self._is_off = False

    def run(self) -> Run | None:
        """Give the run, or None if none is wanted, or none can be opened, which is said once."""
        if self._is_off:
            return None
        try:
            if _export.spans_target().is_enabled:
                return api.init()
        except (CodexObsError, OSError) as error:
            _logger.warning("no run could be opened for telemetry, which is lost: %s", error)
        self._is_off = True
        return None


wiring.open_run = _Opening().run
