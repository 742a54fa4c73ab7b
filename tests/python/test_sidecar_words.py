"""What goes wrong beside the trainer is heard in the trainer, while the run is open."""

from __future__ import annotations

import errno
import json
import socket
from typing import TYPE_CHECKING

import pytest

import codex_obs
from codex_obs.errors import SettingError
from codex_obs.sidecar._warnings import Warnings

if TYPE_CHECKING:
    from pathlib import Path

    from beside import Place


def records_of(place: Place) -> list[dict[str, object]]:
    (summary,) = place.run.glob("tracking_summary.sidecar-*.ndjson")
    return [json.loads(line) for line in summary.read_text().splitlines()]


@pytest.mark.parametrize("name", ["nope", "mlflow", "whole"])
def test_a_name_that_no_package_has_is_refused_at_once(name: str, run_dir: Path) -> None:
    with pytest.raises(SettingError, match=f"'{name}' is no destination: give mlflow, tensorboard"):
        codex_obs.init(run_dir, destinations=[name])
    assert not run_dir.exists()


def test_the_package_of_wandb_is_asked_for_at_once(run_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("codex_obs.destinations.wandb_online.find_spec", lambda _name: None)
    with pytest.raises(SettingError, match="pip install 'codex-obs\\[wandb\\]'"):
        codex_obs.init(run_dir, wandb="online")


@pytest.mark.parametrize(("name", "problem"), [("missing", "cannot be imported"), ("raises", "the place is full")])
def test_a_destination_that_cannot_be_used_is_heard_of_while_the_run_is_open(
    name: str, problem: str, place: Place
) -> None:
    words = place.train(f"""
run = codex_obs.init(RUN, destinations=["{name}"])
log_until(run, lambda: said("{name}: ") and said("{problem}"))
assert not run.closed
run.close(1.0)
""")
    assert words.count(f"not delivered to {name}: ") == 1
    assert f"codex-ndjson sync {place.run} --to {name}`" in words


def test_a_port_that_is_taken_is_heard_of(place: Place) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        place.train(f"""
run = codex_obs.init(RUN, prometheus_port={port})
log_until(run, lambda: said("/metrics is not served: port {port} cannot be opened: "))
run.close()
until(lambda: not beside())
""")


@pytest.mark.parametrize("path", ["/proc/nope/samples.jsonl", "{file}/samples.jsonl"])
def test_samples_that_cannot_be_written_are_heard_of_counted_and_on_record(path: str, place: Place) -> None:
    pytest.importorskip("psutil")
    (place.folder / "file").write_text("in its place")
    path = path.format(file=place.folder / "file")
    place.train(f"""
run = codex_obs.init(RUN, system_metrics={path!r}, system_metrics_interval_s=0.1)
log_until(run, lambda: said("a sample of the machine was not written: "))
run.close()
until(lambda: not beside())
""")
    records = records_of(place)
    (degraded,) = [record for record in records if record["reason"] == "system:write"]
    assert degraded["status"] == "degraded"
    totals = records[-1]["extra"]["totals"]  # type: ignore[index]
    assert (totals["samples"], totals["samples_lost"] >= 2) == (0, True)


class Full:
    def write(self, text: str) -> int:
        raise OSError(errno.ENOSPC, text)


def test_the_same_is_said_once_a_minute_and_a_full_disk_does_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("codex_obs.sidecar._warnings.time.monotonic", lambda: now[0])
    monkeypatch.setattr("codex_obs.sidecar._warnings.sys.stderr", Full())
    warnings = Warnings()
    for words, later_s in (("a", 0.0), ("a", 61.0), ("b", 0.0), ("c", 1.0), ("d", 61.0)):
        now[0] += later_s
        warnings.say("place", words)
    warnings.say("other", "d")
    assert warnings.said == ("a", "b", "d", "d")
    for number in range(500):
        now[0] += 61.0
        warnings.say("place", str(number))
    assert len(warnings.said) == 100
