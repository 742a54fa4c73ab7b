"""Spans: what is inside of what, what is said of it, and who hears of it."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import json
import logging
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

import codex_obs
from codex_obs import telemetry
from codex_obs._telemetry.recording import wiring

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Iterator
    from pathlib import Path

SECRET = "canary-" + "7f3a9c"


@pytest.fixture(autouse=True)
def _nothing_is_configured() -> Iterator[None]:
    yield
    telemetry.configure({})


@pytest.fixture
def run(tmp_path: Path) -> Iterator[codex_obs.Run]:
    with codex_obs.init(tmp_path / "run") as run:
        yield run


def lines(run: codex_obs.Run) -> list[dict[str, Any]]:
    """Give the lines of telemetry so far."""
    assert run.flush(60.0)
    path = run.path / "telemetry.ndjson"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def ends(run: codex_obs.Run) -> dict[str, dict[str, Any]]:
    """Give the last line of each span by its name."""
    return {line["metadata"]["name"]: line for line in lines(run) if "status" in line["metadata"]}


def parents(run: codex_obs.Run) -> dict[str, str | None]:
    """Give the name of each span's parent."""
    found = [line for line in lines(run) if "status" in line["metadata"]]
    names = {line["span_id"]: line["metadata"]["name"] for line in found}
    return {line["metadata"]["name"]: names.get(line["parent_span_id"]) for line in found}


def test_a_span_is_a_first_line_and_a_last_one_that_has_everything(run: codex_obs.Run) -> None:
    with telemetry.thread("t-1", workflow="triage", source="api", group="g") as thread:
        with telemetry.turn("u-1", model="m"), telemetry.tool("shell", call_id="c-1") as tool:
            tool.set(exit_code=0)
        thread.set(result="done", early_exit=False)
    events = [line["event"] for line in lines(run)]
    assert events == ["thread.start", "turn.start", "tool.start", "tool.success", "turn.stop", "thread.stop"]
    end = ends(run)["codex.tool shell"]
    measured, metadata = end["measurements"], end["metadata"]
    assert measured["system_time"] - measured["start_time"] == measured["duration"]
    assert measured["duration_ms"] == measured["duration"] / 1e6
    assert metadata["status"] == "ok"
    assert metadata["span_token"] == end["span_token"]
    assert metadata["attributes"] == {
        "codex.thread.id": "t-1",
        "gen_ai.conversation.id": "t-1",
        "codex.turn.id": "u-1",
        "codex.originator": "sdk",
        "codex.source": "api",
        "codex.workflow": "triage",
        "codex.group": "g",
        "gen_ai.tool.name": "shell",
        "gen_ai.tool.call.id": "c-1",
        "gen_ai.operation.name": "execute_tool",
        "codex.duration_ms": measured["duration_ms"],
        "exit_code": 0,
    }
    thread_end = ends(run)["codex.thread"]["metadata"]
    assert thread_end["pid"] == os.getpid()
    assert thread_end["attributes"]["codex.thread.result"] == "done"
    assert thread_end["attributes"]["codex.thread.early_exit"] is False
    assert len({line["trace_id"] for line in lines(run)}) == 1
    assert parents(run) == {"codex.tool shell": "codex.turn", "codex.turn": "codex.thread", "codex.thread": None}


def test_an_exception_makes_an_error_and_goes_its_way(run: codex_obs.Run) -> None:
    with pytest.raises(ValueError, match="boom"), telemetry.tool("x", server="files"):
        raise ValueError("boom")
    end = ends(run)["codex.mcp.tool_call x"]
    assert end["event"] == "mcp.tool_call.failure"
    assert (end["metadata"]["status"], end["metadata"]["status_message"]) == ("error", "ValueError")
    (event,) = end["metadata"]["events"]
    assert (event["name"], event["attributes"]) == ("exception", {"exception.type": "ValueError"})


def test_an_approval_is_approved_denied_or_left_alone(run: codex_obs.Run) -> None:
    with telemetry.approval("a"):
        pass
    with telemetry.approval("b") as asked:
        asked.deny("too risky")
    with telemetry.approval("c") as asked:
        asked.time_out()
    with pytest.raises(PermissionError), telemetry.approval("d"):
        raise PermissionError
    found = [line["event"] for line in lines(run) if "status" in line["metadata"]]
    assert found == ["approval.approved", "approval.denied", "approval.timeout", "approval.denied"]
    assert ends(run)["codex.approval b"]["metadata"]["attributes"]["codex.approval.reason"] == "too risky"


def test_the_right_parent_across_tasks(run: codex_obs.Run) -> None:
    async def child(name: str) -> None:
        async with telemetry.span(name):
            await asyncio.sleep(0)
            with telemetry.span(f"{name} inside"):
                await asyncio.sleep(0)

    async def main() -> None:
        async with telemetry.span("main"):
            await asyncio.gather(*(child(name) for name in "abc"))

    asyncio.run(main())
    expected: dict[str, str | None] = {"main": None}
    for name in "abc":
        expected |= {name: "main", f"{name} inside": name}
    assert parents(run) == expected


def test_the_right_parent_across_threads_and_copied_contexts(run: codex_obs.Run) -> None:
    def work(name: str) -> None:
        with telemetry.span(name):
            pass

    with telemetry.span("outer"):
        copied = contextvars.copy_context()
        alone = threading.Thread(target=contextvars.Context().run, args=(work, "alone"))
        along = threading.Thread(target=copied.run, args=(work, "along"))
        for thread in (alone, along):
            thread.start()
            thread.join()
    copied.run(work, "late")
    # What has ended is nobody's parent any more.
    assert parents(run) == {"outer": None, "alone": None, "along": "outer", "late": None}


def test_a_generator_that_is_gone_through_is_no_parent_of_what_goes_through_it(run: codex_obs.Run) -> None:
    def numbers() -> Generator[int, None, None]:
        with telemetry.span("generator"):
            for number in range(2):
                with telemetry.span(f"step {number}"):
                    pass
                yield number

    with telemetry.span("outer"):
        for number in numbers():
            with telemetry.span(f"body {number}"):
                pass
        started = numbers()
        next(started)
        started.close()
    assert parents(run) == {
        "outer": None,
        "generator": "outer",
        **{f"step {number}": "generator" for number in range(2)},
        **{f"body {number}": "outer" for number in range(2)},
    }
    assert ends(run)["generator"]["metadata"]["status"] == "ok"


def test_a_generator_resumed_within_another_span_keeps_its_own_for_a_parent(run: codex_obs.Run) -> None:
    def numbers() -> Generator[int, None, None]:
        with telemetry.span("generator"):
            yield 0
            with telemetry.span("inside"):
                pass
            yield 1

    with telemetry.span("outer"):
        started = numbers()
        next(started)
        with telemetry.span("between"):
            next(started)
        started.close()
    assert parents(run) == {"outer": None, "generator": "outer", "between": "outer", "inside": "generator"}


def test_an_async_generator_is_no_parent_either(run: codex_obs.Run) -> None:
    async def numbers() -> AsyncIterator[int]:
        async with telemetry.span("generator"):
            for number in range(2):
                yield number

    async def main() -> None:
        async with telemetry.span("outer"):
            async for number in numbers():
                async with telemetry.span(f"body {number}"):
                    pass

    asyncio.run(main())
    assert parents(run) == {"outer": None, "generator": "outer", "body 0": "outer", "body 1": "outer"}


def test_what_a_context_manager_made_of_a_generator_is_for_is_inside_of_it(run: codex_obs.Run) -> None:
    @contextlib.contextmanager
    def step() -> Iterator[None]:
        with telemetry.span("step"):
            yield

    with step(), telemetry.span("inside"):
        pass
    assert parents(run) == {"step": None, "inside": "step"}


def test_a_process_continues_the_trace_that_its_environment_names(run: codex_obs.Run, tmp_path: Path) -> None:
    program = (
        "import sys, codex_obs\nfrom codex_obs import telemetry\n"
        "with codex_obs.init(sys.argv[1]), telemetry.span('child'): pass\n"
    )
    with telemetry.span("parent") as parent:
        environment = os.environ | {"TRACEPARENT": telemetry.traceparent() or ""}
        subprocess.run([sys.executable, "-c", program, str(tmp_path / "child")], env=environment, check=True)
    child = json.loads((tmp_path / "child" / "telemetry.ndjson").read_text().splitlines()[-1])
    assert (child["trace_id"], child["parent_span_id"]) == (parent.trace_id, parent.span_id)
    assert child["metadata"]["parent_is_remote"] is True
    assert ends(run)["parent"]["parent_span_id"] is None


def test_a_forked_child_does_not_end_the_spans_of_its_parent(run: codex_obs.Run) -> None:
    with telemetry.span("parent"):
        pid = os.fork()
        if not pid:
            with telemetry.span("child"):
                pass
    if not pid:
        codex_obs.finish()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    frame = telemetry.read(run)
    assert sorted(frame["name"]) == ["child", "parent"]
    by_name = {row["name"]: row for row in frame.iter_rows(named=True)}
    assert by_name["child"]["parent_span_id"] == by_name["parent"]["span_id"]
    assert by_name["child"]["stream"] != by_name["parent"]["stream"]


def test_content_is_nowhere_unless_it_is_captured(run: codex_obs.Run, caplog: pytest.LogCaptureFixture) -> None:
    heard: list[object] = []
    telemetry.attach("ear", "*", lambda *told: heard.append(told))
    telemetry.attach_default_logger()

    def talk() -> None:
        with telemetry.thread("t", input=SECRET), telemetry.turn(input={"messages": [SECRET]}):
            with telemetry.tool("x", arguments={"path": SECRET}) as tool:
                tool.set(output=[SECRET], extra={"input": SECRET})
                tool.event("said", output=SECRET)
            telemetry.emit("turn.diff.updated", {}, {"diff": SECRET, "item": [{"output": SECRET}]})
            with contextlib.suppress(ValueError), telemetry.span("failing"):
                raise ValueError(SECRET)

    with caplog.at_level(logging.DEBUG, "codex_obs"):
        talk()
        quiet = repr((lines(run), heard, caplog.text))
        telemetry.configure({}, capture_content=True)
        talk()
    telemetry.detach("ear")
    telemetry.detach("codex_obs-default-logger")
    assert SECRET not in quiet
    assert repr(lines(run)).count(SECRET) > 10


def test_an_event_inside_a_span_is_an_event_of_it(run: codex_obs.Run) -> None:
    with run.span("update", update=3) as span:
        run.event("TRAINER", "stepped", update=3, loss=0.5)
        telemetry.emit("rate_limit.limited", {"retry_after_ms": 7}, {"model": "m"})
        with telemetry.turn():
            telemetry.emit("thread.token_usage.updated", {"input_tokens": 12, "output_tokens": 3})
    metadata = ends(run)["update"]["metadata"]
    assert metadata["attributes"]["update"] == 3
    assert [(event["name"], event["attributes"]) for event in metadata["events"]] == [
        ("TRAINER", {"update": 3, "loss": 0.5, "message": "stepped"}),
        ("rate_limit.limited", {"retry_after_ms": 7, "model": "m"}),
    ]
    limited = next(line for line in lines(run) if line["event"] == "rate_limit.limited")
    assert (limited["span_id"], limited["metadata"]["span_token"]) == (span.span_id, span.ids.token)
    usage = ends(run)["codex.turn"]["metadata"]["attributes"]
    assert (usage["gen_ai.usage.input_tokens"], usage["gen_ai.usage.output_tokens"]) == (12, 3)
    assert (run.path / "metrics.ndjson").read_text().count('"metric":"loss"') == 1


def test_of_more_events_than_fit_the_others_are_counted(run: codex_obs.Run) -> None:
    with telemetry.span("busy") as span:
        for number in range(130):
            span.event("tick", number=number)
    metadata = ends(run)["busy"]["metadata"]
    assert (len(metadata["events"]), metadata["events_dropped"]) == (128, 2)


def test_two_events_with_one_token_make_a_span(run: codex_obs.Run) -> None:
    telemetry.emit("tool.start", {}, {"span_token": "mine", "tool": "x", "call_id": "c"})
    telemetry.emit("tool.failure", {}, {"span_token": "mine", "exit_code": 1})
    end = ends(run)["codex.tool x"]
    assert (end["span_token"], end["event"], end["metadata"]["status"]) == ("mine", "tool.failure", "error")
    assert end["metadata"]["attributes"]["exit_code"] == 1
    assert len({line["span_id"] for line in lines(run)}) == 1


def test_given_ids_are_kept_and_nonsense_is_refused(run: codex_obs.Run) -> None:
    with telemetry.thread(trace_id="AB" * 16, span_id="cd" * 8) as thread:
        assert thread.traceparent == f"00-{'ab' * 16}-{'cd' * 8}-01"
    for wrong in ("0" * 32, "xyz", "ab"):
        with pytest.raises(ValueError, match="trace_id must be 32 hex digits"):
            telemetry.thread(trace_id=wrong)
    assert lines(run)[-1]["span_id"] == "cd" * 8


def test_a_handler_that_raises_is_detached_with_one_warning(
    run: codex_obs.Run, caplog: pytest.LogCaptureFixture
) -> None:
    heard: list[str] = []

    def broken(event: str, *_: object) -> None:
        raise RuntimeError(event)

    telemetry.attach("broken", "a.b", broken)
    telemetry.attach_many("ear", ["a.b", "c.d"], lambda event, *_: heard.append(event))
    with pytest.raises(ValueError, match="attached already"):
        telemetry.attach("ear", "a.b", broken)
    for event in ("a.b", "a.b", "c.d", "e.f"):
        telemetry.emit(event)
    assert heard == ["a.b", "a.b", "c.d"]
    assert [record.getMessage() for record in caplog.records] == [
        "the telemetry handler 'broken' raised RuntimeError at a.b and was detached"
    ]
    assert telemetry.detach("ear")
    assert not telemetry.detach("broken")
    assert len(lines(run)) == 4


def test_without_a_run_handlers_hear_and_nothing_raises() -> None:
    heard: list[str] = []
    telemetry.attach("ear", "*", lambda event, *_: heard.append(event))
    with telemetry.span("a"):
        telemetry.emit("x.y")
    telemetry.detach("ear")
    assert heard == ["span.start", "x.y", "span.stop"]


def test_the_frame_has_spans_and_events_in_their_order(run: codex_obs.Run) -> None:
    with telemetry.thread("t"):
        telemetry.emit("x.y", {"n": 1})
        span = telemetry.span("open").__enter__()
        frame = telemetry.read(run)
        span.__exit__(None, None, None)
    assert frame["event"].to_list() == ["thread.start", "x.y", "span.start"]
    frame = telemetry.read(run)
    assert frame["event"].to_list() == ["thread.stop", "x.y", "span.stop"]
    assert frame["status"].to_list() == ["ok", None, "ok"]
    assert frame["thread_id"].to_list() == ["t", "t", "t"]
    thread = frame.row(0, named=True)
    assert (thread["end"] - thread["start"]).total_seconds() * 1000 == pytest.approx(thread["duration_ms"], abs=0.01)
    assert wiring.export is None
