"""What a relayed conversation has, and the moves that both sides make: the caller's (`conversation.py`) and the
model's (`hearing.py`)."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

from trunkline.tenants import Tenant
from workers import context
from workers.alarm import Alarm
from workers.backend import Item, Session, ToolCall
from workers.keeping import Keeper
from workers.keys import pressed
from workers.relay import protocol
from workers.relay.answering import Answering, Retelling, Truncation
from workers.relay.answers import Answers
from workers.relay.interrupting import Detector, Interruptions
from workers.relay.line import Line
from workers.relay.responses import OURS, RESPOND_ID, Responses, Wish
from workers.relay.uplink import Uplink
from workers.relay.voice import Voice
from workers.tools.toolbox import Toolbox

PATIENCE_S = 8.0
"""A model that says nothing for so long is doubted, unless the tenant says otherwise."""
HURRIED_S = 1.8
"""One that owes an answer, where somebody else can give it. With the silence that ended the question (0.5 s), and what
a cascade takes for its first words, the caller has waited for 3 s."""
PROBE_S = 1.0
"""And one that has heard the caller, before it is asked for a sign of life, and until that comes."""
NO_SIGN = "it gives no sign of life"
UNDO_KEPT = 8
"""A client's changes that the model may still refuse; it answers within a moment."""


class Floor:
    """One session's. Implements `answers.Told`."""

    UPDATES = "client_updates"
    """The snapshot's name for what the client changed."""
    CANCELLED = "cancelled_seq"
    """And for the uplink message before which it wants nothing answered."""

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
        self.uplink = Uplink(session.snapshot.uplink_seq)
        self.uplink.model_hears_edges = self.tenant.relay.turn_detection is not None
        self.responses = Responses()
        self.voice = Voice(session, lambda: self.keeper.commit())
        self.answers = Answers(session, self.voice, self, self.remember)
        self.interruptions = Interruptions(session, voice_activity)
        self.tools = Toolbox(self.tenant, session)
        self.tools_running = 0
        self._tool_wanted = False
        """Whether a tool has answered since the model was last asked to speak of that."""
        self.told: set[str] = set()
        """Items that the model was told of, and does not seem to know yet."""
        self._item_ids = itertools.count(1)
        self._change_ids = itertools.count(1)
        self._undo: dict[str, tuple[Tenant, Tenant]] = {}
        """By the event id of a client's change: the settings before it, and after."""
        self.keeper = Keeper(session, lambda: self.uplink.needed_seq, self.is_idle)
        self._patience = Alarm(self._doubt)
        self._doubted = False
        """The model was asked for a sign of life."""
        self._alone = False
        """Nobody else went on when the model had failed."""
        self._later = Alarm(self._ask_again)
        self._again: Wish | None = None
        """What the model is to try again, later."""
        self._using: set[asyncio.Task[None]] = set()
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
            self.be_patient()
            instructions = f"{self.tenant.prompt}\n\n{wish.instructions}" if wish.instructions else None
            await self.line.tell({**protocol.respond(instructions, metadata=OURS), "event_id": RESPOND_ID})

    @property
    def hurried(self) -> bool:
        """Whether somebody else may answer: then the caller is not kept waiting for this model."""
        return self.tenant.fallback_backend is not None and not self._alone

    def be_patient(self) -> None:
        """The model has time anew to say something."""
        self._doubted = False
        self._patience.set(self._patience_s)

    @property
    def _patience_s(self) -> float:
        """For how long it may be silent now."""
        if (said_s := self.tenant.relay.answer_timeout_s) is not None:
            return said_s
        if self.hurried and self.responses.owed:
            return HURRIED_S
        return PROBE_S if self.hurried and (self._doubted or self.uplink.unsettled) else PATIENCE_S

    def _doubt(self) -> None:
        """The model has been silent for long. If it need not say anything, it is asked whether it lives."""
        if not self.line.up:
            return  # there will be another
        if self.responses.owed:
            self._group.create_task(self._do_without("it owes an answer, and is silent"))
        elif not self._doubted:
            self._doubted = True
            self._patience.set(self._patience_s)
            self._group.create_task(self.line.tell(protocol.probe()))
        elif self.uplink.unsettled:
            self._group.create_task(self._do_without(NO_SIGN))
        else:
            self.line.drop(NO_SIGN)

    async def _do_without(self, why: str) -> None:
        """The caller has waited long enough already to be answered by somebody else, where there is one."""
        generation, hurried = self.line.generation, self.hurried
        await self.fall_back()
        if self.line.generation != generation or not (self.responses.owed or self.uplink.unsettled):
            return
        if hurried and self.tenant.relay.answer_timeout_s is None:  # there is none: it may take its time
            self.be_patient()
        else:
            self.line.drop(why)

    def ask_later(self, after_s: float, wish: Wish) -> None:
        """Have the model try again."""
        self._again = wish
        self._later.set(after_s)

    def _ask_again(self) -> None:
        self.responses.want(self._again)
        self._again = None
        self._group.create_task(self.ask())

    def ask_never(self) -> None:
        """What was to be tried again is of no use any more."""
        self._again = None
        self._later.stop()

    async def fall_back(self) -> None:
        """The model has failed: have another backend go on. Returns when there is none."""
        if self.tenant.fallback_backend is not None:
            await self.keeper.commit()
            await self.session.fall_back()
            self._alone = True

    async def give_up(self, message: str, hint: str) -> None:
        """As `fall_back`; and if there is none, the call is over."""
        await self.fall_back()
        self.session.event("error", code="provider", message=message, hint=hint, fatal=True)
        self.session.give_up("provider")

    def forget_model(self) -> Wish | None:
        """The session with the model is over, and all that was asked of it. Returns what it was about to say."""
        self.be_patient()
        lost = self.responses.forget() or self._again
        self.ask_never()
        self._undo.clear()
        self.answers.new_session()
        return lost

    async def interrupt(self, *told: dict[str, Any], by_model: bool = False, spoken_over_ms: int | None = None) -> None:
        """The caller takes the floor, and the model is `told` this. `by_model`: the model noticed. `spoken_over_ms`:
        the media time since which they speak, if it is known."""
        self.responses.unwant()
        self.ask_never()
        interrupted = self.answers.interrupt(spoken_over_ms)
        self.interruptions.reset()
        if interrupted:
            self.tools.go_on()
        cancelled = by_model and self.tenant.relay.barge_in == "model"
        if interrupted and self.responses.active is not None and not cancelled:
            told = (protocol.cancel(), *told)
        await self.line.tell(*told)

    def owe_nothing_before(self, seq: int) -> None:
        """There is no answer to be given to anything until the uplink message `seq`: neither to what is not known as
        text yet, nor to what a tool still answers."""
        snapshot = self.session.snapshot
        snapshot.flow[self.CANCELLED] = seq
        context.settle(snapshot, snapshot.next_turn - 1)

    def begin_turn(self, item_id: str) -> tuple[int, bool]:
        """What the caller said is an item of the model's conversation. Returns its turn, and whether an answer is
        wanted: the model may hear it again, and have heard it before it was cancelled."""
        snapshot = self.session.snapshot
        turn = context.new_turn(snapshot)
        cancelled = snapshot.flow.get(self.CANCELLED)
        if cancelled is None or not self.uplink.ended_before(item_id, cancelled):
            return turn, True
        context.settle(snapshot, turn)
        return turn, False

    def tell_item(self, event: dict[str, Any]) -> dict[str, Any]:
        """`event` creates an item: note when the model knows of it. What it says before, does not answer this."""
        item_id = event["item"]["id"] = f"told_{next(self._item_ids)}"
        self.told.add(item_id)
        return event

    def stop(self) -> None:
        """The session is over: nothing rings any more, and no tool runs."""
        self._patience.stop()
        self._later.stop()
        for task in self._using:
            task.cancel()

    def cut(self, truncations: list[Truncation], retellings: list[Retelling]) -> None:
        events = [protocol.truncate(each.item_id, each.content_index, each.audio_end_ms) for each in truncations]
        for each in retellings:
            events += protocol.retold(each.item_id, each.text)
        if events:
            self._group.create_task(self.line.tell(*events))

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
        """Add to the conversation what is known now."""
        context.remember(self.session.snapshot, item)

    # --- tools

    def use_tools(self, calls: list[ToolCall], turn: int) -> None:
        """The model asked for these in its answer `turn`: each is answered, and then the model speaks once."""
        self.tools_running += len(calls)
        for call in calls:
            task = self._group.create_task(self._use(call, turn, self.line.generation))
            self._using.add(task)
            task.add_done_callback(self._using.discard)

    async def _use(self, call: ToolCall, turn: int, generation: int) -> None:
        output = await self.tools.run(call)
        item = Item("tool", output, turn, call)
        self.remember(item)
        self.keeper.commit_soon()
        known = generation == self.line.generation
        events = [protocol.tool_output(call.id, output)] if known else protocol.item(item)
        await self.line.tell(*map(self.tell_item, events))
        self.tools_running -= 1
        self._tool_wanted |= not context.is_settled(self.session.snapshot, turn)
        if not self.tools_running and self._tool_wanted:
            self._tool_wanted = False
            self.responses.want()
            await self.ask()

    # --- what the client changes

    def change(self, session: dict[str, Any]) -> dict[str, Any]:
        """Take a client's `session.update`. Returns the event for the model. Raises ClientError."""
        before = self.tenant
        event = self._change(session)
        event_id = event["event_id"] = f"change_{next(self._change_ids)}"
        self._undo[event_id] = before, self.tenant
        if len(self._undo) > UNDO_KEPT:
            del self._undo[next(iter(self._undo))]
        return event

    def _change(self, session: dict[str, Any]) -> dict[str, Any]:
        before, (self.tenant, event) = self.tenant, protocol.client_update(session, self.tenant)
        self.uplink.model_hears_edges = self.tenant.relay.turn_detection is not None
        kept = self.session.snapshot.flow.setdefault(self.UPDATES, {})
        kept.update(protocol.changed(before, self.tenant))
        return event

    def refused(self, event_id: object, why: str) -> None:
        """The model refuses the event of this id. If that was a client's change, the client is told, and it is undone:
        the next session with the model would refuse all its settings for it."""
        undo = self._undo.pop(event_id, None) if isinstance(event_id, str) else None
        if undo is None:
            return
        before, after = undo
        since = protocol.changed(after, self.tenant)
        if undone := {name: was for name, was in protocol.changed(after, before).items() if name not in since}:
            self._change(undone)
        self.keeper.commit_soon()
        hint = "nothing was changed: say what the model can do"
        self.session.event("error", code="bad_session", message=f"the model refuses it: {why}", hint=hint, fatal=False)

    # --- what is shown and kept

    def show(self, state: str) -> None:
        if state != self._shown:
            self._shown = state
            self.session.event("state", state=state)
        if state != "listening":
            self.keeper.wake()

    def is_idle(self) -> bool:
        """Whether nobody speaks and nothing is pending."""
        keys = pressed(self.session.snapshot)
        busy = self.answers or self.uplink.unsettled or self.tools_running or keys or self._again
        return not busy and self.responses.idle

    def pause_if_idle(self) -> None:
        if self.is_idle():
            self.line.paused()
