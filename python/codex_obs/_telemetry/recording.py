"""Where an event goes: the log of the current run, handlers, and an exporter that was configured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from codex_obs import _open_runs
from codex_obs._settings import environment
from codex_obs._telemetry import handlers
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from codex_obs._telemetry.ids import Ids

_logger = logging.getLogger("codex_obs")


class Log(Protocol):
    """A run, as far as telemetry is concerned."""

    @property
    def closed(self) -> bool: ...

    def _write_telemetry(
        self,
        event: str,
        ids: tuple[str, str, str, str | None] | None,
        measurements: Mapping[str, object],
        metadata: Mapping[str, object],
        /,
    ) -> bool: ...


@dataclass
class Wiring:
    """What was configured.

    Attributes:
        content: Whether content is kept; None is as the environment says, which is then read once.
        export: Takes each span that has ended, as the measurements and metadata of its last line.
        open_run: Opens a run where none is open, if that is wanted.
    """

    content: bool | None = None
    export: Callable[[Ids, Mapping[str, object], Mapping[str, object]], object] | None = None
    open_run: Callable[[], Log | None] | None = None

    @property
    def captures_content(self) -> bool:
        """Whether content is kept."""
        if self.content is None:
            try:
                self.content = environment.captures_content(environment.of_otlp())
            except SettingError as error:
                self.content = False
                _logger.warning("telemetry: %s", error)
        return self.content


wiring = Wiring()


def record(
    event: str, ids: Ids | None, measurements: Mapping[str, object], metadata: Mapping[str, object], log: Log | None
) -> Log | None:
    """Write an event to `log`, unless that is closed, else to the current run, and tell the handlers.

    Returns:
        The run that it was written to.
    """
    if log is None or log.closed:
        log = _open_runs.current()
    if log is None and wiring.open_run is not None:
        log = wiring.open_run()
    if log is not None:
        log._write_telemetry(event, ids, measurements, metadata)  # noqa: SLF001 - what it is for
    if handlers.are_attached():
        handlers.tell(event, measurements, metadata)
    return log
