"""One conversation of the relay: what the caller does goes to the model, what the model says goes to the caller.

Tasks, owned by one group: the inbox, the line to the model (which brings its events), the voice, commits, and tools
while they run. What the model does is taken in `hearing.py`.
"""

from __future__ import annotations

import asyncio
import logging
from typing import Any

from trunkline.audio.resample import Resampler
from trunkline.bus.messages import ClientEvent, Dtmf, Played, Text, UplinkAudio
from trunkline.errors import ClientError, first_error
from workers import context
from workers.backend import Inbound, Item, Session
from workers.keys import Keys, told
from workers.relay import beginning, protocol
from workers.relay.floor import Floor
from workers.relay.hearing import Hearing
from workers.relay.interrupting import Detector
from workers.relay.line import Dial, Line
from workers.relay.link import ModelLink, ModelLost

KEEP_MS = 2000
"""Media time between commits that do no more than let go of silence: what the edge keeps of each call meanwhile is
most of a gateway's memory."""

log = logging.getLogger(__name__)


class Conversation:
    """Serves one session."""

    def __init__(self, session: Session, dial: Dial, voice_activity: Detector | None) -> None:
        self._session = session
        self._group = asyncio.TaskGroup()
        self._line = Line(
            dial,
            self._begin,
            lambda event: self._hearing.receive(event),
            lambda: self._floor.is_idle(),
            lambda: self._floor.fall_back(),
            session.tenant.relay.renew_after_s,
            session.id,
        )
        self._floor = Floor(session, self._line, self._group, voice_activity)
        self._hearing = Hearing(self._floor)
        self._to_model: Resampler | None = None
        self._pumping = False
        self._kept_ms = 0
        self._keys = Keys(session, self._take_keys)

    async def run(self) -> None:
        """Serve until the inbox ends. Raises what ended it otherwise: SessionLost, or a fault."""
        try:
            async with self._group:
                try:
                    await self._serve()
                finally:  # before the group waits for its tasks: who rings then would find it closed
                    self._stop()
        except BaseExceptionGroup as group:
            raise first_error(group) from group
        finally:
            self._stop()

    async def _serve(self) -> None:
        own = [
            self._group.create_task(task) for task in (self._call(), self._floor.voice.run(), self._floor.keeper.run())
        ]
        beginning.take_up(self._floor)
        self._session.listen(self._listen, in_turn=False)
        self._keys.begin()
        async for message in self._session.inbox():
            await self._take(message)
        for task in own:
            task.cancel()
        self._stop()
        self._floor.answers.leave()
        await self._floor.keeper.commit()

    def _stop(self) -> None:
        self._floor.stop()
        self._keys.stop()

    async def _call(self) -> None:
        """Keep a line to the model; without one, the caller is told."""
        try:
            await self._line.run()
        except* ModelLost as group:
            lost = first_error(group)
            log.error("session %s: the model cannot be reached: %s", self._session.id, lost)
            hint = "call again later; the operator finds the reason in the log"
            await self._floor.give_up("the model cannot be reached", hint)

    async def _begin(self, link: ModelLink) -> None:
        self._hearing.new_session()
        self._floor.voice.rate_hz = link.rate_hz
        if link.in_real_time:
            self._floor.answers.words_come_ahead(context.CHARACTER_MS / self._floor.tenant.relay.speed)
        if link.rate_hz != self._session.rate_hz:
            self._to_model = Resampler(self._session.rate_hz, link.rate_hz)
        await beginning.begin(self._floor, link)
        await self._pump()

    # --- the inbox

    async def _take(self, message: Inbound) -> None:
        match message:
            case Played():
                self._floor.answers.played(message)
                return
            case ClientEvent(name="commit"):  # again, too, when the audio before it is
                self._floor.uplink.mark(message.seq)
                self._floor.be_patient()
                self._floor.keeper.wake()
                await self._pump()
                return
        if context.is_done(self._session.snapshot, message.seq):
            return  # sent again for the audio around it
        context.done(self._session.snapshot, message.seq)  # what it does to the snapshot is, before the next await
        match message:
            case Text():
                await self._typed(message.text)
            case Dtmf():
                self._keys.press(message)
                self._floor.keeper.wake()
                self._floor.keeper.commit_soon()
            case ClientEvent(name="cancel"):
                await self._cancelled(message.seq)
            case ClientEvent(name="session_update"):
                await self._update(message.data.get("session", {}))
            case ClientEvent(name="tool_output"):
                self._floor.tools.answered(message.data["call_id"], message.data["output"])

    def _listen(self, frame: UplinkAudio) -> None:
        self._floor.uplink.push(frame)
        if not self._pumping and not self._floor.uplink.marked:
            self._pass_on()
        if (spoken := self._floor.answers.spoken) is not None:
            self._floor.interruptions.hear(frame, spoken.turn)
        if frame.media_ms - self._kept_ms >= KEEP_MS and not self._floor.uplink.unsettled:
            self._kept_ms = frame.media_ms
            self._floor.keeper.commit_soon()

    async def _pump(self) -> None:
        """Send the model what it has not heard, and tell it where utterances end. One at a time."""
        if self._pumping:
            return
        self._pumping = True
        try:
            while self._line.up:
                if self._floor.uplink.take_mark():
                    await self._line.tell(protocol.commit())
                elif not self._pass_one_on():
                    return
        finally:
            self._pumping = False

    def _pass_on(self) -> None:
        while self._line.up and self._pass_one_on():
            """Usually one frame."""

    def _pass_one_on(self) -> bool:
        pcm = self._floor.uplink.take()
        if pcm is None:
            return False
        if self._to_model is not None:
            pcm = self._to_model.push(pcm)
        self._line.hear(pcm)
        return True

    async def _typed(self, text: str) -> None:
        turn = context.new_turn(self._session.snapshot)
        self._floor.remember(Item("user", text, turn))
        self._session.event("transcript", role="user", turn=turn, text=text)
        await self._floor.interrupt(self._floor.tell_item(protocol.user_text(text)))
        self._floor.responses.want()
        self._floor.keeper.commit_soon()
        await self._floor.ask()

    def _take_keys(self, keys: str) -> None:
        self._group.create_task(self._keyed(keys))

    async def _keyed(self, keys: str) -> None:
        log.info("session %s: %d telephone keys", self._session.id, len(keys))
        self._keys.known(keys)
        await self._typed(told(keys))

    async def _cancelled(self, seq: int) -> None:
        """The client wants no answer to what was said until now."""
        self._floor.owe_nothing_before(seq)
        await self._floor.interrupt()
        self._floor.keeper.commit_soon()

    async def _update(self, session: dict[str, Any]) -> None:
        try:
            event = self._floor.change(session)
        except ClientError as error:
            told = {"code": error.code, "message": error.message, "hint": error.hint}
            self._session.event("error", **told, fatal=False)
            return
        self._floor.keeper.commit_soon()
        await self._line.tell(event)
