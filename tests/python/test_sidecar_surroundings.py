"""Around the process beside a trainer: whatever happens there, the loop never notices, and no zombie stays."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from faults.mounts import fill, tmpfs

if TYPE_CHECKING:
    from beside import Place

# Zombies below a process: all of its PID namespace that nobody has waited for.
ZOMBIES = """
def zombies():
    found = []
    for path in pathlib.Path("/proc").glob("[0-9]*/stat"):
        text = read(path).decode(errors="replace")
        if text and text.rpartition(")")[2].split()[0] == "Z":
            found.append(text)
    return found
"""
AS_FIRST_PROCESS = ("unshare", "--pid", "--fork", "--mount-proc")


def test_a_loop_that_waits_for_children_never_gets_it(place: Place) -> None:
    words = place.train("""
import threading
run = codex_obs.init(RUN, destinations=["whole"])
gone, is_over = [], threading.Event()
def reap():
    while not is_over.is_set():
        try:
            gone.append(os.wait()[0])
        except ChildProcessError:
            time.sleep(0.001)
threading.Thread(target=reap, daemon=True).start()
workers = []
for step in range(40):
    child = os.fork()
    if child == 0:
        os._exit(0)
    workers.append(child)
    run.log({"loss": 0.5}, step=step)
    if step in (10, 20):
        for pid in beside():
            os.kill(pid, signal.SIGKILL)
        until(beside)
until(lambda: len(gone) == len(workers))
assert run.close(30)
until(lambda: not beside())
is_over.set()
assert sorted(gone) == sorted(workers)
""")
    assert words == ""
    assert place.taken() == [f"loss {step}" for step in range(40)]


@pytest.mark.parametrize("deaths", [1, 3])
def test_one_that_is_killed_while_the_run_closes_is_started_again_or_its_work_is_said(
    place: Place, deaths: int
) -> None:
    words = place.train(f"""
import threading
run = codex_obs.init(RUN, destinations=["slow"])
for step in range(50):
    run.log({{"loss": 0.5}}, step=step)
until(lambda: read(TAKEN))
is_closing = threading.Event()
def kill():
    killed = set()
    is_closing.wait()
    while len(killed) < {deaths}:
        for pid in set(beside()) - killed:
            os.kill(pid, signal.SIGKILL)
            killed.add(pid)
killer = threading.Thread(target=kill, daemon=True)
killer.start()
is_closing.set()
assert run.close(60)
killer.join(60)
until(lambda: not beside())
""")
    if deaths < 3:
        assert words == ""
    else:
        assert words.count("\n") == 1
        assert "has died before its work was done" in words
        assert f"`codex-ndjson sync {place.run} --to slow`" in words
        done = place.sync("slow")
        assert done.returncode == 0, done.stderr
    assert place.taken() == [f"loss {step}" for step in range(50)]
    assert place.text("status") == "finished"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for a PID namespace")
def test_the_first_process_of_a_container_has_no_zombie_of_it(place: Place) -> None:
    words = place.train(
        ZOMBIES
        + """
assert os.getpid() == 1
for number in range(2):
    with codex_obs.init(RUN.with_name(f"run-{number}"), destinations=["whole"]) as run:
        for _ in range(2):
            until(beside)
            for pid in beside():
                os.kill(pid, signal.SIGKILL)
            log_until(run, beside)
        until(lambda: not zombies())
    # It ends by itself, once everything is delivered.
    until(lambda: not beside())
    until(lambda: not zombies())
""",
        *AS_FIRST_PROCESS,
    )
    assert words == ""


def test_in_a_notebook_a_bare_run_is_finished_by_the_next_one_with_its_own_beside_it(place: Place) -> None:
    pytest.importorskip("IPython")
    words = place.train("""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
def cell(text):
    shell.run_cell(text).raise_error()
cell("import codex_obs\\nrun = codex_obs.init(destinations=['whole'])\\nfirst = run")
cell("for step in range(5): run.log({'loss': 0.5}, step=step)")
until(lambda: read(TAKEN).count(b"loss") == 5)
before = beside()
assert len(before) == 1
cell("run = codex_obs.init(name='second', destinations=['whole'])")
cell("for step in range(5, 8): codex_obs.log({'loss': 0.5}, step=step)")
until(lambda: read(TAKEN).count(b"loss 7") == 1)
cell("run.finish()\\nfirst.finish()")
until(lambda: not beside())
""")
    assert words == ""
    assert place.text("status") == "finished"


@pytest.mark.root
def test_a_full_disk_under_the_run_costs_the_loop_nothing_and_what_is_left_is_delivered(place: Place) -> None:
    with tmpfs(place.folder / "disk", 64) as disk:
        place.run = disk / "run"
        trainer = place.begin(
            """
RUN = RUN.with_name("disk") / "run"
run = codex_obs.init(RUN, destinations=["whole"], system_metrics="auto", system_metrics_interval_s=0.1)
run.log({"loss": 0.5}, step=0)
until(lambda: read(TAKEN) == b"loss 0\\n")
until(lambda: (RUN / "system_metrics.jsonl").exists())
print("ready", flush=True)
sys.stdin.readline()
slowest = 0
for step in range(1, 1000):
    began = time.perf_counter()
    run.log({"loss": 0.5}, step=step)
    slowest = max(slowest, time.perf_counter() - began)
assert slowest < 10, slowest
assert len(beside()) == 1, "full disks end nobody"
print("logged", flush=True)
sys.stdin.readline()
assert run.close(60)
stats = run.stats()
assert (stats["rows_written"], stats["rows_dropped"]) == (1000, 0), stats
""",
            stdin=-1,
            stdout=-1,
        )
        assert trainer.stdin is not None
        assert trainer.stdout is not None
        assert trainer.stdout.readline() == "ready\n"
        fill(disk)
        trainer.stdin.write("\n")
        trainer.stdin.flush()
        assert trainer.stdout.readline() == "logged\n"
        (disk / "filler").unlink()
        _, words = trainer.communicate("\n", timeout=120)
        assert trainer.returncode == 0, words
        done = place.sync("whole")
        assert done.returncode == 0, done.stderr
    assert place.taken() == [f"loss {step}" for step in range(1000)]
    assert "Traceback" not in words
