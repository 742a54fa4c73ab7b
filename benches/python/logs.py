"""Run directories to read: rows of ours, and rows of other writers with the same content.

The content is that of three interleaved runs with two splits and 40 metrics, 240 groups, whose values walk at random.
It is written without codex_obs, so that reading is measured on the same bytes whatever the writer does.
"""

from __future__ import annotations

import json
import random
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Shape = Callable[["Call", tuple[str, ...], list[float]], str]

METRICS = [
    "loss",
    "accuracy",
    "learning_rate",
    "grad_norm",
    "tokens_per_second",
    "perplexity",
    "param_norm",
    "throughput",
    "kl",
    "entropy",
    "reward_mean",
    "reward_std",
    "clip_fraction",
    "value_loss",
    "policy_loss",
    "aux_loss",
    "z_loss",
    "router_load",
    "mem_alloc_gb",
    "mem_reserved_gb",
    "gpu_util",
    "gpu_temp",
    "data_time",
    "step_time",
    "fwd_time",
    "bwd_time",
    "opt_time",
    "epoch",
    "samples_seen",
    "loss_scale",
    "update_ratio",
    "ema_loss",
    "top1",
    "top5",
    "f1",
    "precision",
    "recall",
    "auc",
    "bleu",
    "wer",
]
RUNS = 3
EVAL_EVERY = 5

_START = '{"$schema":"https://codexml.ai/schemas/run_metrics.schema.json","schema_version":"v1","timestamp":"'
_FIRST_TIME = datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)


@dataclass(frozen=True)
class Call:
    """What the rows of one call share."""

    timestamp: str
    run_id: str
    step: int
    split: str


def own(call: Call, metrics: tuple[str, ...], values: list[float]) -> str:
    """Write rows as codex_obs does."""
    head = f'{_START}{call.timestamp}","run_id":"{call.run_id}","step":{call.step},"split":"{call.split}","metric":"'
    return "".join(
        f'{head}{metric}","value":{value!r},"dataset":null,"tags":{{}}}}\n'
        for metric, value in zip(metrics, values, strict=True)
    )


def tagged(call: Call, metrics: tuple[str, ...], values: list[float]) -> str:
    """Write rows as codex_obs does, with tags that differ from call to call, and a dataset."""
    tags = json.dumps(
        {"fold": call.step % 7, "host": f"node-{call.step % 13}", "phase": call.split}, separators=(",", ":")
    )
    head = f'{_START}{call.timestamp}","run_id":"{call.run_id}","step":{call.step},"split":"{call.split}","metric":"'
    return "".join(
        f'{head}{metric}","value":{value!r},"dataset":"data/{call.split}","tags":{tags}}}\n'
        for metric, value in zip(metrics, values, strict=True)
    )


def foreign(call: Call, metrics: tuple[str, ...], values: list[float]) -> str:
    """Write rows as another tool might: keys in another order, spaces, fields that codex_obs does not know."""
    start = '{"metric": "'
    end = (
        f', "step": {call.step}, "host": "node-{call.step % 13:02}", "timestamp": "{call.timestamp}", '
        f'"run_id": "{call.run_id}", "split": "{call.split}", "elapsed": {call.step * 0.25!r}, "dataset": null, '
        f'"extra": {{"note": ["a", "b"], "shard": {call.step % 8}}}, "tags": {{}}}}\n'
    )
    return "".join(f'{start}{metric}", "value": {value!r}{end}' for metric, value in zip(metrics, values, strict=True))


def shuffled(call: Call, metrics: tuple[str, ...], values: list[float]) -> str:
    """Write rows of the same fields as `foreign`, each with its keys in an order of its own."""
    order = random.Random(call.timestamp)
    shared = [
        f'"step": {call.step}',
        f'"host": "node-{call.step % 13:02}"',
        f'"timestamp": "{call.timestamp}"',
        f'"run_id": "{call.run_id}"',
        f'"split": "{call.split}"',
        f'"elapsed": {call.step * 0.25!r}',
        '"dataset": null',
        f'"extra": {{"note": ["a", "b"], "shard": {call.step % 8}}}',
        '"tags": {}',
    ]
    lines = []
    for metric, value in zip(metrics, values, strict=True):
        members = [*shared, f'"metric": "{metric}"', f'"value": {value!r}']
        order.shuffle(members)
        lines.append(f"{{{', '.join(members)}}}\n")
    return "".join(lines)


def write_log(
    directory: Path,
    shape: Shape,
    *,
    size_bytes: int,
    shards: int = 16,
    metrics: list[str] = METRICS,
    width: int = len(METRICS),
    runs: int = RUNS,
) -> int:
    """Write a run of about this size, the oldest shard first.

    Args:
        directory: Where to write; created.
        shape: What writes the rows of one call.
        size_bytes: Bytes of all shards together, to within one call a shard.
        shards: Files, of equal size.
        metrics: Names.
        width: How many of them each call logs.
        runs: Run ids, which take turns.

    Returns:
        How many rows were written.
    """
    directory.mkdir(parents=True)
    calls = _calls(metrics, width, runs)
    rows = 0
    for number in range(shards - 1, -1, -1):
        name = f"metrics.ndjson.{number}" if number else "metrics.ndjson"
        written = 0
        with (directory / name).open("w", encoding="ascii", buffering=1 << 20) as file:
            while written < size_bytes // shards:
                call, names, values = next(calls)
                written += file.write(shape(call, names, values))
                rows += len(names)
    return rows


def _calls(metrics: list[str], width: int, runs: int) -> Iterator[tuple[Call, tuple[str, ...], list[float]]]:
    chance = random.Random(7)
    batches = [tuple(metrics[start : start + width]) for start in range(0, len(metrics) - width + 1, width)]
    walks: dict[tuple[int, str, int], list[float]] = {}
    time, number = _FIRST_TIME, 0
    while True:
        step, run = divmod(number, runs)
        split = "eval" if step % EVAL_EVERY == EVAL_EVERY - 1 else "train"
        batch = step // EVAL_EVERY % len(batches)
        time += timedelta(microseconds=900 + chance.randrange(512))
        values = walks.get((run, split, batch)) or [1 + index * 0.5 for index in range(width)]
        values = [value + (chance.random() - 0.5) * 0.01 for value in values]
        walks[run, split, batch] = values
        call = Call(time.isoformat(timespec="microseconds")[:26] + "Z", f"run-000{run + 1}", step, split)
        yield call, batches[batch], values
        number += 1
