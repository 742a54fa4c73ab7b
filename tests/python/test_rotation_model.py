"""Rotation and retention equal a model of a few lines, file by file and byte by byte."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs import _backend

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMAS = "https://codexml.ai/schemas/"
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MANIFEST_ID = re.compile(rb"manifest-[0-9a-f]{32}")
ANY_ID = b"manifest-" + b"0" * 32
KINDS = ("metrics", "metrics_manifest", "tracking_summary")


@dataclass
class Policy:
    max_bytes: int | None
    max_age_s: int | None
    backup_count: int | None


@dataclass
class File:
    """One rotating file: its shards by number (0 is the current one) and the time of its last write."""

    shards: dict[int, bytes] = field(default_factory=dict)
    compressed: set[int] = field(default_factory=set)
    last_write: int = 0
    retired: int = 0
    # Lines that went with each deletion.
    deletions: list[int] = field(default_factory=list)

    def opened(self, policy: Policy, now: int) -> None:
        self.shards.setdefault(0, b"")
        if self.is_aged(policy, now):
            self.rotate(policy)

    def is_aged(self, policy: Policy, now: int) -> bool:
        return (
            policy.backup_count is not None
            and policy.max_age_s is not None
            and len(self.shards[0]) > 0
            and now - self.last_write >= policy.max_age_s
        )

    def append(self, line: bytes, policy: Policy, now: int) -> None:
        self.opened(policy, now)
        is_large = policy.max_bytes is not None and len(self.shards[0]) + len(line) > policy.max_bytes
        if policy.backup_count is not None and self.shards[0] and is_large:
            self.rotate(policy)
        self.shards[0] += line
        self.last_write = now

    def rotate(self, policy: Policy) -> None:
        gap = next(number for number in range(1, len(self.shards) + 2) if number not in self.shards)
        for number in range(gap, 0, -1):
            self.shards[number] = self.shards.pop(number - 1)
        self.compressed = {number + (number < gap) for number in self.compressed}
        self.shards[0] = b""
        assert policy.backup_count is not None
        before = self.retired
        for number in sorted(number for number in self.shards if number > 0)[policy.backup_count :]:
            self.retired += 0 if number in self.compressed else self.shards[number].count(b"\n")
            self.compressed.discard(number)
            del self.shards[number]
        if self.retired > before:
            self.deletions.append(self.retired - before)


def dumps(row: Mapping[str, object]) -> bytes:
    return json.dumps(row, separators=(",", ":")).encode() + b"\n"


def time_text(seconds: int) -> str:
    return (EPOCH + timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


class Schedule:
    """A random sequence of sessions in one directory, carried out for real and by the model."""

    def __init__(self, directory: Path, seed: int) -> None:
        self.random = random.Random(seed)
        self.directory = directory
        self.files = {kind: File() for kind in KINDS}
        self.now = self.random.randrange(10**9)
        self.clock = _backend.ManualClock(self.now)
        self.step = 0
        # What the clock was set back by in this session: its timestamps go on as if it had not been.
        self.ahead = 0
        self.is_deletion_said = False

    def run(self) -> None:
        for _ in range(self.random.randint(1, 3)):
            self.session()
            self.between()

    def session(self) -> None:
        rng = self.random
        policy = Policy(
            max_bytes=rng.choice([None, 1, 300, 700, 2000, 10**9]),
            max_age_s=rng.choice([None, 1, 5, 60]),
            backup_count=rng.choice([None, 1, 2, 3, 2**63 - 1]),
        )
        recorder = _backend.Recorder(
            str(self.directory),
            codex_obs.Settings(
                max_shard_bytes=policy.max_bytes,
                max_shard_age_s=policy.max_age_s,
                backup_count=policy.backup_count,
                archive="none",
                ring_bytes=1 << 18,
                fsync="never",
            ),
            run_id="r1",
            clock=self.clock,
        )
        self.ahead = 0
        retired = self.files["metrics"].retired
        self.files["metrics"].deletions.clear()
        self.is_deletion_said = False
        self.files["metrics"].opened(policy, self.now)
        if self.files["metrics"].deletions:
            # The deletion follows the first batch, which comes now and not when the clock is another.
            self.log(recorder, policy)
            assert recorder.flush()
            self.say_deletion(policy)
        for _ in range(rng.randint(0, 12)):
            action = rng.random()
            if action < 0.25:
                before = self.now
                self.now = max(0, self.now + rng.choice([-100, -1, 0, 1, 4, 5, 59, 60, 1000]))
                self.ahead += max(0, before - self.now)
                self.clock.set(self.now)
            elif action < 0.35:
                self.write_summary(recorder, policy)
            else:
                self.log(recorder, policy)
            # One batch for each call, or the time of a write would be the writer's own choice.
            assert recorder.flush()
            if action >= 0.25:
                self.say_deletion(policy)
        assert recorder._close(None)
        self.say_deletion(policy)
        assert recorder.stats()["rows_retired"] == self.files["metrics"].retired - retired
        self.compare()

    def log(self, recorder: _backend.Recorder, policy: Policy) -> None:
        rng = self.random
        metrics: dict[str, object] = {}
        for index in range(rng.randint(1, 4)):
            name = f"m{index}" + "x" * rng.choice([0, 0, 5, 200])
            metrics[name] = [1, 2] if rng.random() < 0.2 else rng.random()
        recorder.log(metrics, step=self.step)
        shared = {"schema_version": "v1", "timestamp": time_text(self.now + self.ahead), "run_id": "r1"}
        for name, value in metrics.items():
            is_structured = isinstance(value, list)
            if is_structured:
                descriptor = {"payload": value, "shape": [2], "type": "list", "version": "v1"}
                line = {
                    "$schema": SCHEMAS + "run_metrics_manifest.schema.json",
                    **shared,
                    "manifest_id": ANY_ID.decode(),
                    "metric": name,
                    "step": self.step,
                    "split": "train",
                    "dataset": None,
                    "descriptor": descriptor,
                }
                self.files["metrics_manifest"].append(dumps(line), policy, self.now)
            row = {
                "$schema": SCHEMAS + "run_metrics.schema.json",
                **shared,
                "step": self.step,
                "split": "train",
                "metric": name,
                "value": None if is_structured else value,
                "dataset": None,
                "tags": {"manifest_id": ANY_ID.decode()} if is_structured else {},
            }
            self.files["metrics"].append(dumps(row), policy, self.now)
        self.step += 1

    def write_summary(self, recorder: _backend.Recorder, policy: Policy) -> None:
        reason = "y" * self.random.choice([1, 50, 400])
        assert recorder._write_summary("ndjson", "enabled", reason, {})
        self.append_summary(policy, "enabled", reason, {})

    def say_deletion(self, policy: Policy) -> None:
        """The first deletion of rows in a session is on record."""
        deletions = self.files["metrics"].deletions
        if self.is_deletion_said or not deletions:
            return
        self.is_deletion_said = True
        count = deletions[0]
        reason = f"ndjson:{count} {'row was' if count == 1 else 'rows were'} deleted by retention (archive='none')"
        extra = {
            "cause": "retired",
            "count": count,
            "dependencies": {"nvml_available": None, "psutil_available": None},
            "totals": {"rows_retired": count, "rows_retired_undelivered": 0},
            "undelivered": 0,
        }
        self.append_summary(policy, "degraded", reason, extra)

    def append_summary(self, policy: Policy, status: str, reason: str, extra: dict[str, object]) -> None:
        line = {
            "$schema": SCHEMAS + "tracking_component.schema.json",
            "schema_version": "v1",
            "timestamp": time_text(self.now + self.ahead),
            "component": "ndjson",
            "status": status,
            "reason": reason,
            "extra": extra,
        }
        self.files["tracking_summary"].append(dumps(line), policy, self.now)

    def between(self) -> None:
        """Nobody has the run open: time passes, files get old, people delete and compress shards."""
        rng = self.random
        for kind, file in self.files.items():
            current = self.directory / f"{kind}.ndjson"
            if current.exists():
                os.utime(current, (file.last_write, file.last_write))
            for number in sorted(number for number in file.shards if number > 0):
                path = self.directory / f"{kind}.ndjson.{number}"
                if number in file.compressed:
                    continue
                fate = rng.random()
                if fate < 0.1:
                    path.unlink()
                    del file.shards[number]
                elif fate < 0.2:
                    path.with_name(path.name + ".gz").write_bytes(gzip.compress(path.read_bytes(), 1))
                    path.unlink()
                    file.compressed.add(number)
        self.now += rng.choice([0, 1, 5, 100])
        self.clock.set(self.now)

    def compare(self) -> None:
        expected = {
            f"{kind}.ndjson" + (f".{number}" if number else "") + (".gz" if number in file.compressed else ""): content
            for kind, file in self.files.items()
            for number, content in file.shards.items()
        }
        found = {}
        for path in self.directory.iterdir():
            if path.name.startswith(KINDS):
                content = path.read_bytes()
                plain = gzip.decompress(content) if path.suffix == ".gz" else content
                found[path.name] = MANIFEST_ID.sub(ANY_ID, plain)
        assert found == expected


def run_schedules(root: Path, seeds: range) -> None:
    for seed in seeds:
        directory = root / "run"
        try:
            Schedule(directory, seed).run()
        except AssertionError as error:
            raise AssertionError(f"seed {seed}: {error}") from error
        shutil.rmtree(directory)


def test_random_schedules_leave_the_files_of_the_model(fast_dir: Path) -> None:
    run_schedules(fast_dir, range(1000))


@pytest.mark.big
def test_ten_thousand_random_schedules_leave_the_files_of_the_model(fast_dir: Path) -> None:
    run_schedules(fast_dir, range(1000, 11_000))
