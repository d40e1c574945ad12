from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from tests.unit.tools.conftest import Events
from workers.backend import ToolCall
from workers.tools import registry
from workers.tools import toolbox as module
from workers.tools.base import Caller, ToolError
from workers.tools.toolbox import AT_ONCE, Toolbox

PARAMETERS = {
    "type": "object",
    "properties": {"page": {"type": "string", "maxLength": 20}, "scroll": {"type": "number"}},
    "required": ["page"],
}
SHOW_PAGE = {"name": "show_page", "description": "Show a page.", "parameters": PARAMETERS, "timeout_s": 5}
CALL = ToolCall("c1", "show_page", '{"page": "prices"}')


class Probe:
    """A tool that does what the test says."""

    name = "probe"
    description = "For tests."
    parameters = PARAMETERS

    def __init__(self) -> None:
        self.result: Any = "done"
        self.called: list[dict[str, Any]] = []
        self.go = asyncio.Event()
        self.go.set()

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Any:
        self.called.append(arguments)
        await self.go.wait()
        if isinstance(self.result, Exception):
            raise self.result
        return self.result(caller) if callable(self.result) else self.result


@pytest.fixture
async def probe(monkeypatch: pytest.MonkeyPatch) -> Probe:
    made = Probe()
    monkeypatch.setattr(registry, "make", lambda use: made)
    return made


@pytest.fixture
def box(toolbox: Callable[..., Toolbox], probe: Probe) -> Toolbox:
    return toolbox(tools=[{"name": "probe"}], client_tools=[SHOW_PAGE])


async def told(box: Toolbox, arguments: str = '{"page": "a"}', name: str = "probe") -> Any:
    return json.loads(await box.run(ToolCall("c1", name, arguments)))


async def asked(events: Events, count: int = 1) -> dict[str, Any]:
    """The `count`-th tool_call event, once it is there."""
    while len(calls := [data for name, data in events if name == "tool_call"]) < count:  # noqa: ASYNC110
        await asyncio.sleep(0)
    return calls[count - 1]


def test_the_model_is_offered_every_tool(box: Toolbox) -> None:
    assert box.definitions() == [
        {"type": "function", "name": "probe", "description": "For tests.", "parameters": PARAMETERS},
        {"type": "function", "name": "show_page", "description": "Show a page.", "parameters": PARAMETERS},
    ]


@pytest.mark.parametrize("result", ["grün", {"a": [1, None]}, None, 4.5])
async def test_a_tool_answers_in_json(box: Toolbox, probe: Probe, events: Events, result: Any) -> None:
    probe.result = result
    assert await told(box) == result
    assert probe.called == [{"page": "a"}]
    [(name, data)] = events
    assert (name, data["call_id"], data["tool"], data["ok"]) == ("tool_result", "c1", "probe", True)
    assert data["ms"] >= 0


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ('{"page": ', "not JSON"),
        ("[" * 30_000, "not JSON"),
        ('{"page": "a", "scroll": NaN}', "not JSON"),
        ('{"page": "a", "scroll": 1e999}', "not JSON"),
        ('{"page": "\\ud800"}', "not JSON"),
        ('["a"]', "not of type 'object'"),
        ("null", "not of type 'object'"),
        ("", "'page' is a required property"),
        ('{"page": 5}', r"$.page: 5 is not of type 'string'"),
        (json.dumps({"page": "x" * 40_000}), "at most 32768"),
    ],
)
async def test_wrong_arguments_are_explained_to_the_model(
    box: Toolbox, probe: Probe, events: Events, arguments: str, why: str
) -> None:
    assert why in (await told(box, arguments))["error"]
    assert probe.called == []
    assert [data["ok"] for _, data in events] == [False]


async def test_a_tool_without_parameters_may_be_called_with_nothing(toolbox: Callable[..., Toolbox]) -> None:
    box = toolbox(tools=[{"name": "end_call"}])
    assert (await told(box, "", "end_call"))["ok"]


async def test_an_unknown_tool_is_answered_with_those_that_exist(box: Toolbox, events: Events) -> None:
    assert await told(box, name="nothing") == {"error": "no tool 'nothing'; there are: probe, show_page"}
    assert events == []


async def test_what_a_tool_says_went_wrong_is_told(box: Toolbox, probe: Probe) -> None:
    probe.result = ToolError("the book is full")
    assert await told(box) == {"error": "the book is full"}


@pytest.mark.parametrize("result", [KeyError("secret"), object(), float("nan"), "\ud800"])
async def test_a_tool_that_fails_is_logged_with_its_traceback_and_the_model_told_no_more(
    box: Toolbox, probe: Probe, result: Any, caplog: pytest.LogCaptureFixture
) -> None:
    probe.result = result
    assert await told(box) == {"error": "probe failed"}
    [logged] = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert logged.exc_info is not None


async def test_a_result_too_long_is_refused(box: Toolbox, probe: Probe) -> None:
    probe.result = "x" * module.MAX_CHARACTERS
    assert "too long" in (await told(box))["error"]


async def test_a_slow_tool_is_stopped(
    toolbox: Callable[..., Toolbox], probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "OURS_TIMEOUT_S", 0.01)
    probe.go.clear()
    assert await told(toolbox(tools=[{"name": "probe"}])) == {"error": "probe did not answer in time"}


async def test_a_tool_may_tell_the_client_only_what_the_bus_carries(box: Toolbox, probe: Probe, events: Events) -> None:
    probe.result = lambda caller: caller.event("menu", items=["soup"])
    assert await told(box) is None
    assert events[0] == ("menu", {"items": ["soup"]})
    probe.result = lambda caller: caller.event("menu", price=2**70)
    assert await told(box) == {"error": "probe failed"}
    assert [name for name, _ in events] == ["menu", "tool_result", "tool_result"]


async def test_a_call_too_many_is_refused_and_the_others_go_on(box: Toolbox, probe: Probe) -> None:
    probe.go.clear()
    async with asyncio.TaskGroup() as group:
        running = [group.create_task(told(box)) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        assert "8 calls are running" in (await told(box))["error"]
        probe.go.set()
    assert [task.result() for task in running] == ["done"] * AT_ONCE
    assert await told(box) == "done"


async def test_a_call_is_logged_without_what_was_said(
    box: Toolbox, probe: Probe, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    probe.result = "a private answer"
    await told(box, '{"page": "private"}')
    assert "session s-1: tool 'probe' ok after" in caplog.text
    assert "private" not in caplog.text


# --- tools that live in the client


async def test_the_client_is_asked_and_its_answer_reaches_the_model_as_it_is(box: Toolbox, events: Events) -> None:
    async with asyncio.TaskGroup() as group:
        running = group.create_task(box.run(CALL))
        assert await asked(events) == {"call_id": "c1", "tool": "show_page", "arguments": {"page": "prices"}}
        box.answered("c1", "Shown!")
    assert running.result() == "Shown!"
    assert [(name, data.get("ok")) for name, data in events] == [("tool_call", None), ("tool_result", True)]


async def test_answers_may_come_in_any_order(box: Toolbox, events: Events) -> None:
    async with asyncio.TaskGroup() as group:
        first = group.create_task(box.run(CALL))
        second = group.create_task(box.run(ToolCall("c2", "show_page", '{"page": "hours"}')))
        await asked(events, 2)
        box.answered("c2", "two")
        box.answered("c1", "one")
    assert (first.result(), second.result()) == ("one", "two")


async def test_a_client_that_does_not_answer_in_time_has_failed_and_is_told_when_it_does(
    toolbox: Callable[..., Toolbox], events: Events
) -> None:
    box = toolbox(client_tools=[SHOW_PAGE | {"timeout_s": 0.01}])
    assert json.loads(await box.run(CALL)) == {"error": "show_page did not answer in time"}
    box.answered("c1", "late")
    name, data = events[-1]
    assert (name, data["code"], data["fatal"]) == ("error", "unknown_call", False)
    assert "'c1'" in data["message"]


async def test_an_answer_counts_once(box: Toolbox, events: Events) -> None:
    box.answered("c1", "before it was asked")
    async with asyncio.TaskGroup() as group:
        running = group.create_task(box.run(CALL))
        await asked(events)
        box.answered("c1", "first")
        box.answered("c1", "second")
    assert running.result() == "first"
    assert [data["code"] for name, data in events if name == "error"] == ["unknown_call"] * 2


async def test_a_cancelled_call_is_over_for_the_client_too(box: Toolbox, events: Events) -> None:
    running = asyncio.create_task(box.run(CALL))
    await asked(events)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    name, data = events[-1]
    assert (name, data["call_id"], data["ok"]) == ("tool_result", "c1", False)
    box.answered("c1", "late")
    assert events[-1][1]["code"] == "unknown_call"
    async with asyncio.TaskGroup() as group:
        again = group.create_task(box.run(CALL))
        await asked(events, 2)
        box.answered("c1", "now")
    assert again.result() == "now"


@pytest.mark.parametrize("scroll", ["9" * 30, "[" * 600 + "]" * 600])
async def test_arguments_that_cannot_reach_the_client_fail_their_call_only(
    toolbox: Callable[..., Toolbox], events: Events, scroll: str
) -> None:
    box = toolbox(client_tools=[SHOW_PAGE | {"parameters": {"type": "object"}}])
    assert await told(box, f'{{"scroll": {scroll}}}', "show_page") == {"error": "show_page failed"}
    assert [name for name, _ in events] == ["tool_result"]


# --- what is said to a caller who waits


def filler(box: Toolbox, arguments: str = '{"page": "a"}', name: str = "probe") -> str:
    return box.filler(ToolCall("c1", name, arguments))


def test_a_tool_may_say_nothing_while_it_takes_long(box: Toolbox) -> None:
    assert filler(box) == filler(box, name="show_page") == filler(box, name="no such tool") == ""


def test_a_tool_s_words_may_follow_from_its_arguments(
    toolbox: Callable[..., Toolbox], probe: Probe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(probe, "filler", lambda arguments: f"I open {arguments['page']}.", raising=False)
    box = toolbox(tools=[{"name": "probe"}])
    assert filler(box) == "I open a."
    assert filler(box, '{"page": 1}') == "", "it will be told that this is wrong, and not take long"
    monkeypatch.setattr(probe, "filler", lambda arguments: arguments["nothing"], raising=False)
    assert filler(toolbox(tools=[{"name": "probe"}])) == ""
    assert "the filler of tool 'probe' failed" in caplog.text


def test_the_tenant_s_words_for_a_tool_come_before_its_own(
    toolbox: Callable[..., Toolbox], probe: Probe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "filler", "I look.", raising=False)
    page = SHOW_PAGE | {"filler": "Look at your screen."}
    box = toolbox(tools=[{"name": "probe", "filler": "Asking the kitchen."}], client_tools=[page])
    assert filler(box) == "Asking the kitchen."
    assert filler(box, name="show_page") == "Look at your screen."
    assert filler(toolbox(tools=[{"name": "probe"}])) == "I look."
