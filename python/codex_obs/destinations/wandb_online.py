"""Online runs of Weights & Biases, by its own package, which is imported once there is something to deliver.

The engine numbers the records of each stream from its start and hands them over with their numbers. W&B drops a record
whose number its server has already, so that each is there once. What its client has accepted and not sent yet is lost
if that dies; the engine then hands it over again, from where the server says that it is.
"""

from __future__ import annotations

import shutil
from contextlib import suppress
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from codex_obs import _json
from codex_obs._settings import environment
from codex_obs.destinations import _wandb_client
from codex_obs.destinations.base import Later, Never
from codex_obs.errors import SettingError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

_STEP = "codex/step"
# Where W&B's client keeps what it has not sent yet, in the folder of internals. It is of no use to another process.
_FOLDER = "wandb-online"
_MAX_TAG_CHARACTERS = 64  # W&B refuses longer ones
_NEEDED_SETTINGS = frozenset({"finish_timeout", "finish_timeout_raises", "x_file_stream_transmit_interval"})
_NOT_INSTALLED = "wandb is not installed: pip install 'codex-obs[wandb]'"
_TOO_OLD = "wandb {version} is too old: pip install --upgrade 'codex-obs[wandb]'"
_NO_KEY = "W&B has no API key: run `wandb login`, or set WANDB_API_KEY"
_NEW_KEY = "run `wandb login --relogin`, or set WANDB_API_KEY"
_STARTED_OVER = "W&B's client was started again"
_SWITCHED_OFF = "W&B is switched off: unset WANDB_MODE=disabled and WANDB_DISABLED"


def require_package() -> None:
    """Look whether W&B's package is installed. Nothing is imported.

    Raises:
        SettingError: If it is missing.
    """
    if find_spec("wandb") is None:
        raise SettingError(_NOT_INSTALLED)


class Online:
    """What the engine calls: W&B's client, with a run for each stream.

    Args:
        directory: The run directory.
    """

    page: str | None

    def __init__(self, directory: Path | str) -> None:
        self.page = None
        self._folder = Path(directory) / ".codex_obs" / _FOLDER
        self._wandb: Any = None
        self._runs: dict[str, Any] = {}

    def prepare(self) -> None:
        """Import W&B's package.

        Raises:
            Never: If it is not there, too old, or switched off.
        """
        if environment.wandb_is_disabled():
            raise Never(_SWITCHED_OFF)
        if self._wandb is not None:
            return
        environment.quieten_vendors()
        try:
            wandb = import_module("wandb")
        except ImportError as error:
            raise Never(_NOT_INSTALLED if error.name == "wandb" else f"wandb cannot be imported: {error}") from error
        if _NEEDED_SETTINGS - set(getattr(wandb.Settings, "model_fields", ())):
            raise Never(_TOO_OLD.format(version=wandb.__version__))
        self._wandb = wandb

    def open(self, stream: str, run: Mapping[str, str], tags: Sequence[str]) -> int:
        """Open a stream's run, or open it anew.

        Args:
            stream: The stream.
            run: What `wandb.init` calls it.
            tags: Its tags, beside those that the server knows.

        Returns:
            How many records the server has.
        """
        self._runs.pop(stream, None)
        folder = self._folder / stream
        if not self._runs:
            # Left by a process that was killed.
            shutil.rmtree(self._folder, ignore_errors=True)
        try:
            begun = _wandb_client.begin(self._wandb, folder, **run)
            begun.define_metric(_STEP)
            begun.define_metric("*", step_metric=_STEP)
            self._runs[stream] = begun
            self.tags(stream, tags)
            if self.page is None or stream == "main":
                self.page = begun.url
            return int(begun.starting_step)
        except Exception as error:  # noqa: BLE001 - a stranger's code: whatever it raises is an answer
            self._refuse(stream, error)

    def history(self, stream: str, records: Iterable[tuple[int, str]]) -> None:
        """Log records as JSON objects, each with its number."""
        run = self._run(stream)
        try:
            for number, text in records:
                # Without `commit` the last one would wait for the next.
                run.log(_json.loads(text), step=number, commit=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(stream, error)

    def config(self, stream: str, params: Iterable[tuple[str, str]]) -> None:
        """Note parameters, whose values are JSON."""
        run = self._run(stream)
        try:
            config = {name: _json.loads(text) for name, text in params}
            run.config.update(config, allow_val_change=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(stream, error)

    def tags(self, stream: str, tags: Sequence[str]) -> None:
        """Add the tags that the run lacks."""
        run = self._run(stream)
        try:
            known = tuple(run.tags or ())
            new = dict.fromkeys(tag[:_MAX_TAG_CHARACTERS] for tag in tags if tag)
            lacking = tuple(tag for tag in new if tag not in known)
            if lacking:
                run.tags = known + lacking
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(stream, error)

    def finish(self, stream: str, exit_code: int) -> None:
        """End a stream's run once the server has all of it.

        Raises:
            Later: If that took too long. What the server has is looked at when the run is opened anew.
        """
        run = self._run(stream)
        try:
            run.finish(exit_code=exit_code)
        except Exception as error:  # noqa: BLE001 - as above
            self._refuse(stream, error)
        del self._runs[stream]
        if not self._runs:
            shutil.rmtree(self._folder, ignore_errors=True)

    def leave(self, exit_code: int) -> None:
        """End every run that is open. What is not sure to have arrived is sent by the next delivery."""
        for stream in list(self._runs):
            with suppress(Later, Never):
                self.finish(stream, exit_code)

    def _run(self, stream: str) -> Any:  # noqa: ANN401 - of a module without types
        try:
            return self._runs[stream]
        except KeyError:
            raise Later(_STARTED_OVER, after_s=0.0) from None

    def _start_over(self) -> None:
        """End the process of W&B's client, which has died or may try without end. All runs are opened anew."""
        self._runs.clear()
        with suppress(Exception):
            self._wandb.teardown()

    def _refuse(self, stream: str, error: Exception) -> NoReturn:
        """Say what an exception means. The run is not used any more."""
        self._runs.pop(stream, None)
        if isinstance(error, Later | Never):
            raise error
        wandb = self._wandb
        line = next(iter(str(error).splitlines()), "")
        words = f"{type(error).__name__}: {line}" if line else type(error).__name__
        if isinstance(error, wandb.errors.AuthenticationError):
            raise Never(
                f"W&B refuses the API key ({words}): run `wandb login --relogin`, or set WANDB_API_KEY"
            ) from error
        if isinstance(error, wandb.errors.UsageError):
            raise Never(_NO_KEY if "API key" in line else f"W&B refuses the run: {line}") from error
        self._start_over()
        if isinstance(error, wandb.errors.CommError):
            raise Later(f"W&B cannot be reached: {line}") from error
        if isinstance(error, TimeoutError):
            raise Later(f"W&B has not confirmed the end of the run in {_wandb_client.FINISH_TIMEOUT_S:g} s") from error
        raise Later(f"W&B's client failed and is started again ({words})") from error
