"""Write the tables of the documentation anew from a recorded run of all benchmarks.

    pytest --benchmark --benchmark-save=baseline
    python benches/tables.py

In a page, what stands between `<!-- measured: NAME -->` and `<!-- /measured -->` belongs to this program.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).parent / "python"))

from kept import Kept, number, time

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = Path(__file__).parents[1]
TIMES = "\N{MULTIPLICATION SIGN}"
PAGES = ("README.md", "docs/pages/performance.md", "docs/pages/performance-reading.md")
BLOCK = re.compile(r"(<!-- measured: (?P<name>[a-z-]+) -->\n).*?(\n<!-- /measured -->)", re.DOTALL)

# Title, comparison, and our ratio's budget.
CALLS = (
    ("`run.log`, 1 float", "log, 1 floats", "0.15"),
    ("8 floats", "log, 8 floats", "0.08"),
    ("32 floats", "log, 32 floats", "0.08"),
    ("8 floats, single calls: 50 %", "log, 8 floats, single calls, 50 %", ""),
    ("99 %", "log, 8 floats, single calls, 99 %", "1 µs"),
    ("99.9 %", "log, 8 floats, single calls, 99.9 %", "0.05"),
    ("8 floats, the journal written with `pwrite`", "log, 8 floats, pwrite", "0.3"),
    ("8 floats after 1 ms of other work", "8 floats, 1 ms of work a step", f"2 {TIMES} floor"),
    ("4 million rows, default settings, until `close` returned", "4,000,000 rows until closed", "0.25"),
    ("processor seconds of a million rows, all threads", "processor seconds of a million rows", "0.33"),
)
TRACKERS = (
    ("trackio", "trackio"),
    ("OpenTelemetry gauges", "opentelemetry"),
    ("wandb, offline", "wandb"),
    ("tensorboardX", "tensorboardX"),
    ("mlflow, SQLite", "mlflow"),
)
KINDS = (
    ("values of `numpy.float32`", "NumPy float32", "2"),
    ("with `split`, `dataset` and two tags", "split, dataset, two tags", "2"),
    ("the dict built for the call", "a dict built for each call", ""),
    ("`bind`", "bind", "1"),
    ("`bind`, `numpy.float32`", "bind, NumPy float32", ""),
    ("`bind` with `split`, `dataset` and two tags", "bind, split, dataset, two tags", ""),
    ("`log({})`", "no metrics", ""),
    ("a function in C that does nothing", "nothing in C", ""),
)
# Title, comparison, peers with their titles and budgets (times as fast).
READING = (
    (
        "1 GB, 4.0 M rows of ours",
        "summarise 1 GB",
        (
            ("DuckDB, columns given", "duckdb", f"3{TIMES}"),
            ("Polars, streaming, columns given", "polars", f"4.5{TIMES}"),
            ("the floor (below)", "floor", f"0.5{TIMES}"),
        ),
    ),
    ("50 MB of the same", "summarise 50 MB", (("orjson in a loop", "orjson", ""), ("pandas", "pandas", ""))),
    (
        "250 MB with tags and datasets that change with each call",
        "summarise 250 MB, tags",
        (("DuckDB", "duckdb", ""), ("Polars", "polars", "")),
    ),
    (
        "250 MB of another writer: other order of keys, spaces, foreign fields",
        "summarise 250 MB, foreign",
        (("DuckDB", "duckdb", f"1{TIMES}"), ("Polars", "polars", "")),
    ),
    (
        "250 MB, the keys of each row in an order of its own",
        "summarise 250 MB, keys shuffled",
        (("DuckDB", "duckdb", f"1{TIMES}"), ("Polars", "polars", "")),
    ),
    (
        "`read` of 1 GB into a Polars frame, 12 columns, in order",
        "read 1 GB into a frame",
        (("`pl.read_ndjson`", "polars", f"3{TIMES}"), ("the same, 6 columns given", "polars, given columns", "")),
    ),
)


def machine(kept: Kept) -> str:
    return f"Machine: {kept.facts()}."


def writing(kept: Kept) -> str:
    rows = ["| what | codex_obs | orjson | msgspec | json | floor | ratio to orjson | budget |", "|---" * 8 + "|"]
    for title, comparison, budget in CALLS:
        times = [time(kept.of(comparison, subject)) for subject in ("codex_obs", "orjson", "msgspec", "json", "floor")]
        ratio = number(kept.ratio(comparison, "orjson"))
        if "floor" in budget:
            ratio += f"; to the floor {number(kept.ratio(comparison, 'floor'))}"
        rows.append(f"| {title} | {' | '.join(times)} | {ratio} | {budget} |")
    beside = "the work of a step beside logging"
    slower = {
        subject: kept.seconds[beside][subject] / kept.seconds[beside]["nothing"] - 1 for subject in kept.seconds[beside]
    }
    theirs = f"{slower['orjson']:+.1%}" if "orjson" in slower else ""
    work = time(kept.seconds[beside]["nothing"])
    rows.append(f"| that work ({work}) beside logging | {slower['codex_obs']:+.1%} | {theirs} | | | | | +0.5 % |")
    memory = kept.measures["peak memory of 4 million rows, MiB"]
    rows.append(
        f"| peak memory of those 4 million rows, above a bare interpreter | {memory:.0f} MiB | | | | | | 32 MiB |"
    )
    return "\n".join(rows)


def trackers(kept: Kept) -> str:
    rows = ["| 8 floats with | µs a call | codex_obs beside it |", "|---" * 3 + "|"]
    comparison = "log, 8 floats, trackers"
    for title, subject in TRACKERS:
        if (seconds := kept.of(comparison, subject)) is not None:
            rows.append(f"| {title} | {number(seconds * 1e6)} | {number(kept.ratio(comparison, subject))} |")
    return "\n".join(rows)


def kinds(kept: Kept) -> str:
    rows = ["| call | ratio | budget |", "|---" * 3 + "|"]
    for title, kind, budget in KINDS:
        if (ratio := kept.ratio(f"8 floats: {kind}", "log")) is not None:
            rows.append(f"| {title} | {ratio:.2f} | {budget} |")
    threads = kept.ratio("8 floats, 4 threads", "one thread") or 0.0
    rows.append(f"| four threads, each call beside one thread's | {threads:.2f} | 2 |")
    return "\n".join(rows)


def reading(kept: Kept) -> str:
    rows = ["| what | codex_obs | peer | | budget |", "|---" * 5 + "|"]
    for title, comparison, peers in READING:
        first = f"| {title} | {time(kept.ours(comparison))} |"
        for peer, subject, budget in peers:
            if (seconds := kept.of(comparison, subject)) is not None:
                faster = seconds / kept.ours(comparison)
                times = f"{faster:.2f}" if faster < 2 else number(faster)
                rows.append(f"{first} {peer}: {time(seconds)} | {times}{TIMES} | {budget} |")
                first = "| | |"
    return "\n".join(rows)


def process(kept: Kept) -> str:
    memory, small = "peak memory above the imports, MiB", "codex-ndjson summarize, 1 MB"
    return "\n".join(
        (
            "| what | measured | budget |",
            "|---" * 3 + "|",
            *(
                f"| Peak memory above the imports, summary of {size}, 240 groups | {mib:.1f} MiB | 100 MiB |"
                for size in ("1 GB", "10 GB")
                if (mib := kept.measures.get(f"{memory}: {size}")) is not None
            ),
            f"| `codex-ndjson summarize` of 1 MB, the whole process | {time(kept.ours(small))} | 0.4 s |",
            f"| a process that only imports Polars | {time(kept.of(small, 'import polars'))} | |",
            f"| a process that only imports the command line library | {time(kept.of(small, 'import typer'))} | |",
            f"| a process that does nothing | {time(kept.of(small, 'nothing'))} | |",
        )
    )


def short(kept: Kept) -> str:
    """Say it in a sentence, for the README."""
    call, closed = "log, 8 floats", "4,000,000 rows until closed"
    faster = 1 / (kept.ratio(closed, "orjson") or 1.0)
    summary = 1 / (kept.ratio("summarise 1 GB", "duckdb") or 1.0)
    frame = 1 / (kept.ratio("read 1 GB into a frame", "polars") or 1.0)
    memory = kept.measures["peak memory above the imports, MiB: 1 GB"]
    return "\n".join(
        (
            f"Measured as ratios in one run on {kept.facts()}:",
            f"a call with 8 floats takes {time(kept.ours(call))}, {number(kept.ratio(call, 'orjson'))} of `orjson` and",
            f"an open file; four million rows are in the files {number(faster)} times as fast as with those;",
            f"a summary of 1 GB is {number(summary)} times as fast as DuckDB's and takes {memory:.0f} MiB;",
            f"reading it into a Polars frame is {number(frame)} times as fast as `pl.read_ndjson`.",
        )
    )


BLOCKS: dict[str, Callable[[Kept], str]] = {
    each.__name__: each for each in (machine, writing, trackers, kinds, reading, process, short)
}


def main() -> None:
    newest = max((ROOT / "benches" / "baseline").glob("*/*.json"), default=None)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recorded", type=Path, nargs="?", default=newest, help="what pytest-benchmark wrote")
    kept = Kept.read(parser.parse_args().recorded)
    for page in PAGES:
        path = ROOT / page
        text = path.read_text(encoding="utf-8")
        path.write_text(
            BLOCK.sub(lambda found: found[1] + BLOCKS[found["name"]](kept) + found[3], text), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
