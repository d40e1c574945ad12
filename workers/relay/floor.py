"""What a relayed conversation has, and the moves that both sides make: the caller's (`conversation.py`) and the
model's (`hearing.py`)."""

from __future__ import annotations

import asyncio

from trunkline.tenants import Tenant
from workers import context
from workers.alarm import Alarm
from workers.backend import Item, Session, ToolCall
from workers.keeping import Keeper
from workers.relay import protocol
from workers.relay.answering import Answering, Truncation
from workers.relay.answers import Answers
from workers.relay.interrupting import Detector, Interruptions
from workers.relay.line import Line
from workers.relay.responses import RESPOND_ID, Responses
from workers.relay.uplink import Uplink
from workers.relay.voice import Voice
from workers.tools.toolbox import Toolbox


class Floor:
    """One session's. Implements `answers.Told`."""

    def __init__(
        self,
        session: Session,
        line: Line,
        group: asyncio.TaskGroup,
        voice_activity: Detector | None,
    ) -> None:
        self.session = session
        self.line = line
        self.tenant: Tenant = session.tenant
        """With what the client changed of it."""
        self.format = protocol.format_for(session.rate_hz)
        hears_edges = self.tenant.relay.turn_detection is not None
        self.uplink = Uplink(session.snapshot.uplink_seq, model_hears_edges=hears_edges)
        self.responses = Responses()
        self.voice = Voice(session, self.format)
        self.answers = Answers(session, self.voice, self, self.remember)
        self.interruptions = Interruptions(session, voice_activity)
        self.tools = Toolbox(self.tenant, session)
        self.tools_running = 0
        self.digits = ""
        """Telephone keys that may not be all yet."""
        self.commit_asked = False
        """The client said that the utterance is over, and the model has not said that it knows."""
        self.keeper = Keeper(session, lambda: self.uplink.needed_seq, self.is_idle)
        self.patience = Alarm(lambda: line.drop("it owes an answer, and is silent"))
        self._later = Alarm(self._ask_again)
        self._group = group
        self._shown = ""

    # --- answers

    async def ask(self) -> None:
        """Have the model speak, if that is wanted and may be now."""
        if not self.line.up or self.uplink.speaking:
            return
        wish = self.responses.next()
        if wish is not None:
            self.show("thinking")
            self.patience.set(self.tenant.relay.answer_timeout_s)
            instructions = f"{self.tenant.prompt}\n\n{wish.instructions}" if wish.instructions else None
            await self.line.tell({**protocol.respond(instructions), "event_id": RESPOND_ID})

    def ask_later(self, after_s: float) -> None:
        """Have the model try again."""
        self._later.set(after_s)

    def _ask_again(self) -> None:
        self.responses.want()
        self._group.create_task(self.ask())

    async def interrupt(self, *, by_model: bool = False) -> None:
        """The caller takes the floor. `by_model`: the model noticed."""
        self.responses.unwant()
        interrupted = self.answers.interrupt()
        self.interruptions.reset()
        if not interrupted:
            return
        self.tools.go_on()
        cancelled = by_model and self.tenant.relay.barge_in == "model"
        if self.responses.active is not None and not cancelled:
            await self.line.tell(protocol.cancel())

    def stop(self) -> None:
        """The session is over: nothing rings any more."""
        self.patience.stop()
        self._later.stop()

    def cut(self, truncations: list[Truncation]) -> None:
        for truncation in truncations:
            event = protocol.truncate(truncation.item_id, truncation.content_index, truncation.audio_end_ms)
            self._group.create_task(self.line.tell(event))

    def over(self, answering: Answering, *, interrupted: bool) -> None:
        self.interruptions.reset()
        ending = self.tools.ending
        if ending is not None and not interrupted and self.responses.idle and not self.tools_running:
            self.session.close(ending.reason, transfer_to=ending.transfer_to)
        if not self.answers.audible and not self.responses.owed:
            self.show("listening")
        self.keeper.commit_soon()
        self.pause_if_idle()

    def remember(self, item: Item) -> None:
        """Add to the conversation what is known now, where it belongs."""
        snapshot = self.session.snapshot
        context.remember(snapshot, item)
        snapshot.items.sort(key=lambda kept: kept.turn)

    # --- tools

    def use_tools(self, calls: list[ToolCall]) -> None:
        """The model asked for these: each is answered, and then the model speaks once."""
        self.tools_running += len(calls)
        for call in calls:
            self._group.create_task(self._use(call, self.line.generation))

    async def _use(self, call: ToolCall, generation: int) -> None:
        output = await self.tools.run(call)
        item = Item("tool", output, context.new_turn(self.session.snapshot), call)
        self.remember(item)
        known = generation == self.line.generation
        for event in [protocol.tool_output(call.id, output)] if known else protocol.item(item):
            await self.line.tell(event)
        self.tools_running -= 1
        self.keeper.commit_soon()
        if not self.tools_running:
            self.responses.want()
            await self.ask()

    # --- what is shown and kept

    def show(self, state: str) -> None:
        if state != self._shown:
            self._shown = state
            self.session.event("state", state=state)
        if state != "listening":
            self.keeper.wake()

    def is_idle(self) -> bool:
        """Whether nobody speaks and nothing is pending."""
        busy = self.answers or self.uplink.unsettled or self.tools_running or self.digits
        return not busy and self.responses.idle

    def pause_if_idle(self) -> None:
        if self.is_idle():
            self.line.paused()
