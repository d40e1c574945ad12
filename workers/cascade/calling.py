"""The tools that a conversation uses. A call runs to its end, whatever becomes of the answer that it was made for: what
was booked stays booked, and the model learns of it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from trunkline.bus.messages import ClientEvent
from workers import context
from workers.backend import Answer, Called, Item
from workers.backend import ToolCall as Call
from workers.cascade.prompting import LATE, fact
from workers.cascade.shared import Shared
from workers.providers.base import ToolCall, ToolSchema
from workers.tools.toolbox import Ending, Toolbox

TOLD_CHARACTERS = 64 * 1024
"""Of all that the model is told in one answer: a snapshot, which holds it, must stay under 256 KiB."""

_ANSWERED = "answered_seq"


class Calling:
    """The calls of one session. `came_late` is called when a tool is done after its answer was."""

    def __init__(self, shared: Shared, came_late: Callable[[], None]) -> None:
        """Raises SettingsError for a tool that does not exist, wrong options, or a schema that is none."""
        self._session = shared.session
        self._keeper = shared.keeper
        self._group = shared.group
        self._came_late = came_late
        self._toolbox = Toolbox(shared.session.tenant, shared.session)
        self._running: dict[asyncio.Task[None], Call] = {}
        self._known: list[Call] = []
        """Of those that run: the model was told that they do."""
        self._filled: list[Call] = []
        """Those whose own filler was said."""
        self.schemas = tuple(
            ToolSchema(offer["name"], offer["description"], offer["parameters"])
            for offer in self._toolbox.definitions()
        )
        """What the model may use."""

    def __bool__(self) -> bool:
        """Whether any tool runs."""
        return bool(self._running)

    def take_up(self) -> None:
        """Nobody knows what became of the tools that the last worker ran."""
        snapshot = self._session.snapshot
        for called in snapshot.answer.called if snapshot.answer is not None else ():
            called.output = context.UNKNOWN if called.output is None else called.output
        for item in [item for item in snapshot.items if item.tool is not None and item.text == context.RUNNING]:
            since = snapshot.items[snapshot.items.index(item) + 1 :]
            self._tell(
                item, context.UNKNOWN, known=any(later.turn > item.turn for later in since if later.role == "assistant")
            )

    def stop(self) -> None:
        """The session is over: no tool runs any more."""
        for task in self._running:
            task.cancel()

    # --- calls

    async def use(self, answer: Answer, calls: Sequence[ToolCall]) -> None:
        """Run what the model asked for at once in `answer`, and wait until each was answered. Who cancels this, does
        not cancel them."""
        number = answer.called[-1].round + 1 if answer.called else 1
        begun = [Called(call, len(answer.text), number) for call in self._distinct(answer, number, calls)]
        answer.called += begun
        # Before anything is waited for: what the answer holds of them must be true.
        tasks = [self._group.create_task(self._run(answer, called)) for called in begun]
        for task, called in zip(tasks, begun, strict=True):
            self._running[task] = called.call
            task.add_done_callback(self._running.pop)
        await asyncio.wait(tasks)
        await self._keeper.commit()

    def _distinct(self, answer: Answer, number: int, calls: Sequence[ToolCall]) -> Iterator[Call]:
        """The calls with an id each: some servers give none, or the same to all."""
        taken = {called.call.id for called in answer.called} | {call.id for call in self._running.values()}
        for index, call in enumerate(calls):
            new = call.call_id and call.call_id not in taken
            call_id = call.call_id if new else f"call_{answer.turn}_{number}_{index}"
            taken.add(call_id)
            yield Call(call_id, call.name, call.arguments)

    async def _run(self, answer: Answer, called: Called) -> None:
        await self._keeper.commit()  # a worker that takes over must know that it was begun
        output = await self._toolbox.run(called.call)
        if sum(len(each.output or "") for each in answer.called) + len(output) > TOLD_CHARACTERS:
            output = json.dumps({"error": "the result is too long, after all that other tools answered"})
        called.output = output
        item = next((item for item in self._session.snapshot.items if item.tool is called.call), None)
        if item is not None:  # its answer is over
            self._tell(item, output, known=called.call in self._known)
            self._came_late()
        for calls in (self._known, self._filled):
            if called.call in calls:
                calls.remove(called.call)
        self._keeper.commit_soon()

    def _tell(self, item: Item, output: str, *, known: bool) -> None:
        """A tool has answered that is remembered as running. Where the model was told so (`known`), the answer is news
        of its own: it would go unnoticed among what was talked about meanwhile."""
        snapshot = self._session.snapshot
        assert item.tool is not None
        snapshot.items[snapshot.items.index(item)] = replace(item, text=LATE if known else output)
        if known:
            context.remember(snapshot, Item("tool", fact(item.tool, output), context.new_turn(snapshot)))

    async def rest(self, timeout_s: float) -> None:
        """Wait until no tool runs, but not for longer than that."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)

    def told(self) -> None:
        """The model is being told which tools still run, and what others answered late: this answer is about that."""
        self._known = list(self._running.values())
        snapshot = self._session.snapshot
        if (answer := snapshot.answer) is not None and any(item.turn > answer.turn for item in snapshot.items):
            snapshot.items = [
                replace(item, turn=min(item.turn, answer.turn)) if item.role == "tool" else item
                for item in snapshot.items
            ]

    def take_filler(self) -> str:
        """What a tool that runs has said to the caller who waits for it, once; empty if there is nothing of that."""
        for call in self._running.values():
            if call not in self._filled and (phrase := self._toolbox.filler(call)):
                self._filled.append(call)
                return phrase
        return ""

    def answered(self, event: ClientEvent) -> None:
        """The client answers a call of one of its tools. After a takeover it may be heard again."""
        flow = self._session.snapshot.flow
        if event.seq >= flow.get(_ANSWERED, 0):
            flow[_ANSWERED] = event.seq + 1
            self._toolbox.answered(event.data["call_id"], event.data["output"])

    # --- how the call ends

    @property
    def ending(self) -> Ending | None:
        """How the call ends once what the assistant says now was heard; None: it goes on."""
        return self._toolbox.ending

    def end(self, reason: str) -> None:
        """End the call once what the assistant says next was heard."""
        self._toolbox.end(reason)

    def go_on(self) -> None:
        """The caller spoke up instead."""
        self._toolbox.go_on()
