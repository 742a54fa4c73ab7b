"""TensorBoard's event files, as tensorboard, tensorboardX, PyTorch and TensorFlow write them.

They are read here, without the package ``tensorboard``: the format is a record's length, two checksums and a protocol
buffer of a dozen fields that has not changed in years, and the package brings 20 others. Steps that a restarted program
wrote again are all kept, as the files have them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from codex_obs._sources import _records, _tensors, _wire
from codex_obs._sources._base import Account, Ended, Facts, Params, Point, SourceError, opened
from codex_obs._splits import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from codex_obs._sources._base import Piece
    from codex_obs.types import Status

MARK = "tfevents"
# How this package's own event files name their writer, before the run's id; metrics are called `split/metric` there.
_OURS = "codex_obs "
_ENDINGS: dict[int, Status] = {1: "finished", 2: "failed"}

# Field numbers of Event, of Summary.Value, and of SummaryMetadata: tensorflow/core/util/event.proto, summary.proto.
_WALL_TIME, _STEP, _GRAPH, _SUMMARY, _MESSAGE, _RUN_METADATA, _META_GRAPH, _SOURCE = 1, 2, 4, 5, 6, 8, 9, 10
_TAG, _SIMPLE, _IMAGE, _HISTOGRAM, _AUDIO, _TENSOR, _METADATA = 1, 2, 4, 5, 6, 8, 9
_OTHER_EVENTS = {
    _GRAPH: "graph",
    _MESSAGE: "log message",
    _RUN_METADATA: "run metadata",
    _META_GRAPH: "graph",
}
_MEDIA = {_IMAGE: "image", _AUDIO: "audio clip"}
# What PyTorch and tensorboardX append to the names of texts.
_TEXT_ENDING = "/text_summary"
_PLUGINS = {
    "images": "image",
    "audio": "audio clip",
    "graphs": "graph",
    "mesh": "mesh",
    "custom_scalars": "layout of charts",
    "projector": "embedding",
}


class EventFolder:
    """The event files of one run: those of a folder, and of its folders that are called as a split.

    Args:
        label: What the run is called.
        parts: Split of names that tell none, and event files in order; one for each folder.
    """

    def __init__(self, label: str, parts: Sequence[tuple[str, Sequence[Path]]]) -> None:
        self.label = label
        self.run_id: str | None = None
        self.has_folders = False
        self._parts = parts

    def facts(self) -> Facts:
        """Give the name, and the time of the first event."""
        times = []
        for _, files in self._parts:
            for path in files[:1]:
                with opened(path) as file:
                    first = next(_records.tf_records(file, Account()), None)
                if first is not None:
                    event = _wire.members(first[0])
                    times.append(_wire.double(event.get(_WALL_TIME)))
                    writer = _wire.text(_wire.members(_wire.sub(event.get(_SOURCE))).get(1))
                    if writer.startswith(_OURS):
                        self.run_id, self.has_folders = writer.removeprefix(_OURS) or None, True
        return Facts(
            name=self.label,
            run_id=self.run_id,
            started_s=min(times, default=None),
            origin={"tool": "tensorboard"},
        )

    def pieces(self, account: Account) -> Iterator[Piece]:
        """Give the values, hyperparameters, and how the session ended."""
        total = sum(path.stat().st_size for _, files in self._parts for path in files)
        done = 0
        # Nothing in these files says that a program has failed, unless its hyperparameters do.
        end = Ended("finished")
        for split, files in self._parts:
            reader = _Reader(split, account)
            for path in files:
                with opened(path) as file:
                    for record, checksum in _records.tf_records(file, account):
                        for piece in reader.read(record, checksum):
                            if isinstance(piece, Ended):
                                end = piece
                            else:
                                yield piece
                        done += len(record)
                        account.tell(done, total)
        yield end


class _Reader:
    """Reads events. What a tag holds is said by its first value only."""

    def __init__(self, split: str, account: Account) -> None:
        self._split = split
        self._account = account
        self._plugins: dict[str, str] = {}

    def read(self, record: bytes, checksum: int) -> Iterator[Piece]:
        """Give what one event says."""
        try:
            found = list(self._decoded(record))
        except _wire.WireError:
            self._account.damaged["record that cannot be read"] += 1
            return
        if found and _records.masked_checksum(record) != checksum:
            self._account.damaged["record that cannot be read"] += 1
            return
        yield from found

    def _decoded(self, record: bytes) -> Iterator[Piece]:
        time_s: float | None = None
        step = 0
        values: dict[str, object] = {}
        for number, value in _wire.fields(record):
            if number == _WALL_TIME:
                time_s = _wire.double(value)
            elif number == _STEP:
                step = _wire.integer(value)
            elif number == _SUMMARY:
                for inner, message in _wire.fields(_wire.sub(value)):
                    if inner == 1:
                        yield from self._value(_wire.sub(message), values)
            elif number in _OTHER_EVENTS:
                self._account.left[_OTHER_EVENTS[number]] += 1
        if values:
            yield Point(values, step, time_s, self._split)

    def _value(self, message: bytes, values: dict[str, object]) -> Iterator[Piece]:
        found = _wire.members(message)
        tag = _wire.text(found.get(_TAG))
        plugin = self._plugins.get(tag)
        if plugin is None:
            plugin_data = _wire.members(_wire.sub(_wire.members(_wire.sub(found.get(_METADATA))).get(1)))
            plugin = self._plugins[tag] = _wire.text(plugin_data.get(1))
            if plugin == "hparams":
                del self._plugins[tag]
                yield from _hyperparameters(_wire.sub(plugin_data.get(2)))
                return
        if _SIMPLE in found:
            values[tag] = _wire.single(found[_SIMPLE])
        elif _HISTOGRAM in found:
            values[tag] = _tensors.histogram(_wire.sub(found[_HISTOGRAM]))
        elif _TENSOR in found and plugin not in _PLUGINS:
            value = _of_tensor(_wire.sub(found[_TENSOR]), plugin)
            if value is None:
                self._account.left[plugin or "tensor"] += 1
            else:
                values[tag.removesuffix(_TEXT_ENDING) if plugin == "text" else tag] = value
        else:
            media = next((word for number, word in _MEDIA.items() if number in found), None)
            self._account.left[media or _PLUGINS.get(plugin, plugin) or "empty value"] += 1


def _of_tensor(message: bytes, plugin: str) -> object:
    found = _tensors.tensor(message)
    if found is None:
        return None
    if plugin == "histograms":
        return _tensors.histogram_of_tensor(found)
    if found.elements and isinstance(found.elements[0], str):
        # Text is PyTorch's and TensorFlow's; other plugins keep messages of their own in strings.
        if plugin not in ("text", ""):
            return None
        return found.elements[0] if len(found.elements) == 1 else found.nested()
    return found.nested()


def _hyperparameters(content: bytes) -> Iterator[Piece]:
    """Read what the plugin of hyperparameters notes at the start and the end of a session."""
    data = _wire.members(content)
    start, end = _wire.sub(data.get(3)), _wire.sub(data.get(4))
    params = {}
    for number, entry in _wire.fields(start):
        if number == 1:
            pair = _wire.members(_wire.sub(entry))
            params[_wire.text(pair.get(1))] = _any_value(_wire.sub(pair.get(2)))
    if params:
        yield Params(params)
    if end:
        told = _wire.members(end)
        status = _ENDINGS.get(_wire.integer(told.get(1)))
        if status is not None:
            yield Ended(status, _wire.double(told.get(2)) or None)


def _any_value(message: bytes) -> object:
    """Read a ``google.protobuf.Value``."""
    for number, value in _wire.fields(message):
        if number == 2:  # noqa: PLR2004 - field numbers
            return _wire.double(value)
        if number == 3:  # noqa: PLR2004
            return _wire.text(value)
        if number == 4:  # noqa: PLR2004
            return bool(value)
        if number == 6:  # noqa: PLR2004
            return [_any_value(_wire.sub(inner)) for _, inner in _wire.fields(_wire.sub(value))]
    return None


def event_folders(root: Path) -> list[EventFolder]:
    """Find the runs below a folder: each folder with event files is one.

    One that is called as a split (``train``, ``validation`` …) belongs to the run of the folder above it.

    Raises:
        SourceError: If the folder cannot be read.
    """
    parts: dict[str, list[tuple[str, list[Path]]]] = {}
    for folder in sorted(_folders_with_events(root)):
        files = sorted(path for path in folder.iterdir() if MARK in path.name and path.is_file())
        place, split = folder.relative_to(root).as_posix(), "train"
        if folder != root and folder.name in WORDS:
            place, split = folder.parent.relative_to(root).as_posix(), folder.name
        parts.setdefault(place, []).append((split, files))
    root_name = root.resolve().name
    return [EventFolder(root_name if place == os.curdir else place, found) for place, found in parts.items()]


def _folders_with_events(root: Path) -> Iterator[Path]:
    def refused(error: OSError) -> None:
        raise SourceError(f"{error.filename} cannot be read: {error.strerror}.")

    for folder, inner, names in os.walk(root, onerror=refused):
        # What the profiler writes has events without values.
        inner[:] = [name for name in inner if not name.startswith(".") and name != "plugins"]
        if any(MARK in name for name in names):
            yield root.__class__(folder)
