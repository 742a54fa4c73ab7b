"""The process beside the trainer: it starts, delivers, dies, is replaced and ends, and the trainer never notices."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from beside import DEADLINE_S, Place, until
from codex_obs._export import Beside
from codex_obs.sidecar._delivery import Delivery
from codex_obs.sidecar._warnings import Warnings

if TYPE_CHECKING:
    from codex_obs import _backend


def lines(count: int, first: int = 0) -> list[str]:
    return [f"loss {step}" for step in range(first, count)]


def test_it_delivers_while_the_trainer_logs_and_ends_with_the_run(place: Place) -> None:
    words = place.train("""
with codex_obs.init(RUN, destinations=["whole"]) as run:
    for step in range(100):
        run.log({"loss": 0.5}, step=step)
    until(lambda: len(read(TAKEN).splitlines()) == 100)
    assert len(beside()) == 1
    run.log({"loss": 0.5}, step=100)
until(lambda: not beside())
""")
    assert words == ""
    assert place.taken() == lines(101)
    assert place.text("status") == "finished"
    assert [path.name for path in (place.run / ".codex_obs").glob("sidecar-*.json")] == []
    (summary,) = place.run.glob("tracking_summary.sidecar-*.ndjson")
    records = [json.loads(line) for line in summary.read_text().splitlines()]
    assert [(record["component"], record["status"]) for record in records] == [
        ("whole", "enabled"),
        ("whole", "disabled"),
    ]


def test_it_is_no_child_inherits_nothing_and_leads_a_session(place: Place) -> None:
    words = place.train("""
inherited = os.open("/dev/zero", os.O_RDONLY)
os.set_inheritable(inherited, True)
run = codex_obs.init(RUN, destinations=["facts"])
try:
    os.waitpid(-1, os.WNOHANG)
except ChildProcessError:
    pass
else:
    raise AssertionError("there is a child")
run.log({"loss": 0.5})
until(lambda: pathlib.Path("facts").exists())
(pid,) = beside()
assert {os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")}.isdisjoint({"/dev/zero"})
run.close()
""")
    assert words == ""
    facts = json.loads(place.text("facts") or "")
    assert facts["session"] == facts["pid"]
    assert facts["parent"] != os.getpid()
    assert facts["descriptors"]["1"] == "/dev/null"
    assert facts["descriptors"]["2"].endswith(".log")
    assert (facts["inherited"], facts["oom"], facts["modules"]) == (["here"], "900", [])


def test_a_killed_trainer_has_its_rows_delivered_and_nobody_is_told_of_an_end_yet(place: Place) -> None:
    trainer = place.begin("""
run = codex_obs.init(RUN, destinations=["slow"])
for step in range(500):
    run.log({"loss": 0.5}, step=step)
until(lambda: read(TAKEN))
os.kill(os.getpid(), signal.SIGKILL)
""")
    trainer.communicate(timeout=DEADLINE_S)
    assert trainer.returncode == -signal.SIGKILL
    until(lambda: place.taken() == lines(500))
    assert place.text("status") is None
    place.train("""
run = codex_obs.init(RUN, destinations=["slow"])
run.log({"loss": 0.5}, step=500)
run.close(30)
until(lambda: not beside())
""")
    assert place.taken() == lines(501)
    assert place.text("status") == "finished"


@pytest.mark.big
def test_a_killed_run_that_nobody_goes_on_with_is_told_to_be_killed_after_a_minute(place: Place) -> None:
    trainer = place.begin("""
run = codex_obs.init(RUN, destinations=["whole"])
run.log({"loss": 0.5})
until(lambda: read(TAKEN))
os.kill(os.getpid(), signal.SIGKILL)
""")
    trainer.communicate(timeout=DEADLINE_S)
    began = time.monotonic()
    while place.text("status") is None:
        assert time.monotonic() - began < 180
        time.sleep(0.1)
    assert time.monotonic() - began > 55
    assert place.text("status") == "killed"
    until(lambda: not place.sidecars())


def test_a_destination_that_hangs_costs_the_loop_nothing_and_close_keeps_its_deadline(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["hangs"])
slowest = 0
for step in range(2000):
    began = time.perf_counter()
    run.log({"loss": 0.5}, step=step)
    slowest = max(slowest, time.perf_counter() - began)
began = time.monotonic()
assert run.close(1.0)
assert 0.5 < time.monotonic() - began < 20
assert slowest < 10
""")
    assert "run run: not delivered to hangs: " in words
    assert f"run `codex-ndjson sync {place.run} --to hangs`" in words
    for pid in place.sidecars():
        os.kill(pid, signal.SIGKILL)
    until(lambda: not place.sidecars())
    done = place.sync("whole")
    assert (done.returncode, len(place.taken())) == (0, 2000)


def test_a_close_waits_for_the_call_that_has_the_last_rows(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["ponders"])
run.log({"loss": 0.5}, step=0)
until(lambda: read(TAKEN).splitlines() == [b"loss 0"])
# What was counted then has nothing left.
time.sleep(1)
run.log({"loss": 0.5}, step=1)
until(TAKEN.with_name("pondering").exists)
began = time.monotonic()
assert run.close(1.5)
assert time.monotonic() - began >= 1.4
""")
    assert "run run: not delivered to ponders: " in words
    until(lambda: not place.sidecars())
    assert place.taken() == lines(2)


def test_one_that_raises_is_said_with_its_words_and_the_command(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["raises", "whole"])
run.log({"loss": 0.5})
until(lambda: read(TAKEN))
run.close(2.0)
""")
    assert "not delivered to raises: " in words
    assert "RuntimeError: the place is full" in words
    assert "--to raises`" in words
    assert "--to whole" not in words
    assert place.taken() == lines(1)


def test_a_plugin_that_cannot_be_imported_is_said_and_on_record_and_the_others_are_delivered_to(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["missing", "whole"])
run.log({"loss": 0.5})
until(lambda: read(TAKEN))
run.close(2.0)
until(lambda: not beside())
""")
    assert "not delivered to missing: " in words
    assert "the destination 'missing' cannot be imported: AttributeError" in words
    (summary,) = place.run.glob("tracking_summary.sidecar-*.ndjson")
    records = [json.loads(line) for line in summary.read_text().splitlines()]
    assert ("missing", "degraded", "missing:unusable") in [
        (record["component"], record["status"], record["reason"]) for record in records
    ]


def test_one_that_dies_is_started_again_and_no_row_is_lost_or_doubled(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["dies"])
step = 0
while not read(TAKEN):
    run.log({"loss": 0.5}, step=step)
    step += 1
    time.sleep(0.01)
pathlib.Path("steps").write_text(str(step))
run.close(30)
""")
    assert words == ""
    assert place.text("deaths") == "xx"
    assert place.taken() == lines(int(place.text("steps") or ""))


def test_one_that_is_killed_three_times_is_given_up_with_one_warning_and_the_command(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["whole"])
killed = set()
while len(killed) < 3:
    for pid in set(beside()) - killed:
        os.kill(pid, signal.SIGKILL)
        killed.add(pid)
    run.log({"loss": 0.5})
    time.sleep(0.05)
log_until(run, lambda: said("cannot be kept running"))
assert not beside()
run.close()
""")
    assert words.count("cannot be kept running") == 1
    assert f"`codex-ndjson sync {place.run} --to whole`" in words
    done = place.sync("whole")
    assert done.returncode == 0
    assert len(place.taken()) == len((place.run / "metrics.ndjson").read_text().splitlines())


@pytest.mark.parametrize("then", ["destinations=['whole']", ""], ids=["with one", "without one"])
def test_a_new_session_replaces_the_one_of_the_session_before(then: str, place: Place) -> None:
    trainer = place.begin("""
run = codex_obs.init(RUN, destinations=["hangs"])
run.log({"loss": 0.5}, step=0)
until(lambda: TAKEN.exists())
os.kill(os.getpid(), signal.SIGKILL)
""")
    trainer.communicate(timeout=DEADLINE_S)
    (before,) = place.sidecars()
    place.train(f"""
run = codex_obs.init(RUN, {then})
until(lambda: {before} not in beside())
run.log({{"loss": 0.5}}, step=1)
run.close(30)
until(lambda: not beside())
""")
    assert place.taken() == (lines(2) if then else [])


def test_ctrl_c_and_one_sigterm_leave_it_at_work_and_the_second_ends_it(place: Place) -> None:
    trainer = place.begin(
        """
run = codex_obs.init(RUN, destinations=["slow"])
for step in range(300):
    run.log({"loss": 0.5}, step=step)
until(lambda: read(TAKEN))
time.sleep(60)
""",
        start_new_session=True,
    )
    until(place.taken)
    (beside,) = place.sidecars()
    os.kill(beside, signal.SIGTERM)
    os.killpg(trainer.pid, signal.SIGINT)
    trainer.communicate(timeout=DEADLINE_S)
    until(lambda: place.taken() == lines(300))
    until(lambda: place.text("status") == "killed")
    until(lambda: not place.sidecars())

    trainer = place.begin("""
run = codex_obs.init(RUN, destinations=["hangs"])
time.sleep(60)
""")
    until(place.sidecars)
    (beside,) = place.sidecars()
    until(lambda: _handles(beside, signal.SIGTERM))
    os.kill(beside, signal.SIGTERM)
    time.sleep(0.5)
    assert place.sidecars() == [beside]
    os.kill(beside, signal.SIGTERM)
    until(lambda: beside not in place.sidecars())
    trainer.kill()
    trainer.communicate(timeout=DEADLINE_S)


def _handles(pid: int, which: signal.Signals) -> bool:
    """Whether a process handles a signal."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (which - 1) & 1)


def test_forked_workers_have_none_of_their_own_and_do_not_wait_for_it(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["whole"])
run.log({"loss": 0.5}, step=0)
for _ in range(3):
    child = os.fork()
    if child == 0:
        run.log({"loss": 0.5})
        began = time.monotonic()
        run.close(20)
        os._exit(0 if time.monotonic() - began < 10 else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert len(beside()) == 1
run.log({"loss": 0.5}, step=1)
run.close(30)
""")
    assert words == ""
    assert place.taken() == lines(2)


def test_ranks_share_the_one_of_rank_0(place: Place) -> None:
    place.train("""
workers = [
    subprocess.Popen([sys.executable, "-c", "import codex_obs, sys, time\\n"
        "with codex_obs.init('run', rank=int(sys.argv[1]), destinations=['whole'], export_ranks='all') as run:\\n"
        "    for step in range(20): run.log({'loss': 0.5}, step=step)\\n", str(rank)])
    for rank in range(4)
]
most = 0
while any(worker.poll() is None for worker in workers):
    most = max(most, len(beside()))
assert [worker.returncode for worker in workers] == [0] * 4
assert most <= 1, most
until(lambda: not beside())
""")
    names = sorted({line.rpartition("loss")[0] for line in place.taken()})
    if names != ["", "rank-1/", "rank-2/", "rank-3/"]:
        # Rank 0 had ended before the others began.
        done = place.sync("whole", "--export-ranks", "all")
        assert done.returncode == 0
    assert len(place.taken()) == 80


def test_an_interpreter_that_just_ends_leaves_the_rest_to_it(place: Place) -> None:
    words = place.train("""
run = codex_obs.init(RUN, destinations=["slow"])
for step in range(200):
    run.log({"loss": 0.5}, step=step)
""")
    assert words == "" or "the process beside this one goes on" in words
    until(lambda: place.text("status") == "finished")
    until(lambda: not place.sidecars())
    assert place.taken() == lines(200)


def test_where_it_cannot_be_started_training_goes_on_with_one_line(place: Place) -> None:
    words = place.train("""
sys.executable = "/no/such/python"
run = codex_obs.init(RUN, destinations=["whole"])
log_until(run, lambda: said("cannot be kept running"))
assert run.close()
""")
    assert words.count("\n") == 1
    assert "the process beside this one cannot be kept running (/no/such/python" in words


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a PID namespace")
def test_in_a_container_whose_first_process_is_the_trainer_sync_completes_what_dies_with_it(place: Place) -> None:
    place.train(
        """
assert os.getpid() == 1
run = codex_obs.init(RUN, destinations=["slow"])
for step in range(500):
    run.log({"loss": 0.5}, step=step)
until(lambda: read(TAKEN))
""",
        "unshare",
        "--pid",
        "--fork",
        "--mount-proc",
    )
    until(lambda: not place.sidecars())
    done = place.sync("slow")
    assert done.returncode == 0, done.stderr
    assert place.taken() == lines(500)
    assert place.text("status") == "finished"


@pytest.mark.parametrize("where", ["auto", "machine.jsonl"])
def test_the_machine_is_sampled_beside_the_trainer(where: str, place: Place) -> None:
    pytest.importorskip("psutil")
    words = place.train(f"""
run = codex_obs.init(RUN, system_metrics={where!r}, system_metrics_interval_s=0.1)
file = (RUN / "system_metrics.jsonl") if {where!r} == "auto" else pathlib.Path({where!r})
until(lambda: read(file).count(b"\\n") >= 3)
assert "psutil" not in sys.modules
run.close()
until(lambda: not beside())
""")
    assert words == ""
    file = place.run / "system_metrics.jsonl" if where == "auto" else place.folder / where
    samples = [json.loads(line) for line in file.read_text().splitlines()]
    assert {sample["run_id"] for sample in samples} == {json.loads((place.run / "run.json").read_text())["run_id"]}
    assert [process["pid"] for process in samples[1]["processes"]] != []
    (summary,) = place.run.glob("tracking_summary.sidecar-*.ndjson")
    records = [json.loads(line) for line in summary.read_text().splitlines()]
    reasons = [(record["component"], record["status"], record["reason"]) for record in records]
    assert reasons[0] == ("system", "enabled", "system:started")
    assert reasons[-1] == ("system", "disabled", "system:ended")


def test_without_psutil_one_line_says_so_and_training_goes_on(place: Place) -> None:
    words = place.train("""
import importlib.util
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, package=None: None if name == "psutil" else found(name, package)
for _ in range(2):
    run = codex_obs.init(RUN, system_metrics="auto")
    run.log({"loss": 0.5})
    run.close()
""")
    assert words.count("[monitoring-error]") == 1
    assert "pip install 'codex-obs[system]'" in words


def test_a_delivery_that_a_fault_ends_is_not_waited_for_once_the_run_is_over(
    run_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def make() -> _backend.Destination:
        raise ZeroDivisionError

    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    delivery = Delivery(str(run_dir), Beside("broken", make, "--to broken"), threading.Event(), Warnings())
    for is_over in (False, True):
        delivery.start(is_over=is_over)
        for thread in threading.enumerate():
            if thread.name == "codex-obs-broken":
                thread.join(DEADLINE_S)
        assert (delivery.is_running, delivery.was_told, delivery.was_stopped) == (False, False, is_over)
