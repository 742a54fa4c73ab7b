"""Names that MLflow refuses arrive under names that it takes: each under one of its own, and always the same."""

from __future__ import annotations

from typing import TYPE_CHECKING

import polars as pl
import pytest

import codex_obs
from rig.case import stored_points
from rig.trainer import report_of, start

if TYPE_CHECKING:
    from pathlib import Path

    from rig.rest import Client
    from rig.server import Server

pytestmark = pytest.mark.mlflow

NAMES = [
    *("a%b", "a*b", "a|b", "a//b", "a/./b", "a/../b", "../a", "/a", "a/", ".", "..", "a\\b", "a\nb", "a\tb", "a\0b"),
    *(
        "a b",
        "a:b",
        "a-b",
        "a.b",
        "a_b",
        "a/b",
        "A/B",
        "größe",
        "gro\u0308ße",
        "損失",
        "😀",
        "😁",
        "\u200b",
        "\ufeff",
        "\u202ex",
    ),
    *("", " ", "  ", "a ", " a", "x" * 244, "x" * 245, "x" * 300, "x" * 299 + "y", "é" * 300, "😀" * 300, "%" * 300),
    *(
        "Infinity",
        "null",
        "metrics[3]",
        "'",
        '"',
        "`",
        "<script>",
        "a=b&c=d",
        "a?b",
        "a#b",
        "loss (mean)",
        "loss [mean]",
    ),
]


def stored(server: Server, directory: Path) -> dict[float, str]:
    with codex_obs.init(directory, mlflow_tracking_uri=server.uri) as run:
        run.log({name: float(number) for number, name in enumerate(NAMES)}, step=1)
        assert run.close(60.0)
    assert run.stats()["metrics_exported"] == len(NAMES)
    assert run.stats()["metrics_rejected"] == 0
    points = stored_points(server.port, directory)
    return dict(points.select(pl.col("value"), pl.col("key")).iter_rows())


@pytest.mark.filterwarnings("default")
def test_every_name_arrives_under_a_name_of_its_own(either_server: Server, tmp_path: Path) -> None:
    first = stored(either_server, tmp_path / "first")
    assert len(first) == len(set(first.values())) == len(set(NAMES)) == len(NAMES)
    for number, name in enumerate(NAMES):
        # What MLflow takes is left as it is.
        if name in {"a b", "a:b", "a-b", "a.b", "a_b", "a/b", "A/B", "größe", "損失", "x" * 244}:
            assert first[float(number)] == f"train/{name}"
    assert stored(either_server, tmp_path / "second") == first


@pytest.mark.parametrize("run_id", ["it's", 'so "called"', "back`tick", "back\\slash", "100%", "x' OR '1'='1", "größe"])
def test_any_run_id_finds_its_own_remote_run(run_id: str, server: Server, client: Client, tmp_path: Path) -> None:
    # The third directory is as if it had been copied to another machine before it knew of its remote run.
    for directory in ("one", "one", "two"):
        options = {"mlflow_tracking_uri": server.uri}
        told = {"directory": str(tmp_path / directory), "run_id": run_id, "name": tmp_path.name, "options": options}
        assert report_of(start("trainer", told | {"metrics": ["loss"], "calls": 5}))["stats"]["metrics_exported"] == 5
    (remote,) = client.runs_named(tmp_path.name)
    assert client.points(remote["info"]["run_id"]).height == 15
