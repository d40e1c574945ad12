"""What the model does, event by event (PROTOCOLS section 1.5), and what follows from it.

An event that is not in the table means nothing to us: the model may say more than we know.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any

from trunkline.errors import ProviderError
from trunkline.tenants import ServerVad
from workers.backend import Item, ToolCall
from workers.latency import Latency
from workers.relay import prompting, protocol
from workers.relay.answering import Answering
from workers.relay.floor import Floor
from workers.relay.responses import OURS, RESPOND_ID, Wish
from workers.relay.trouble import Kind, Trouble, classify

VENDOR = "openai"
"""Whose Realtime interface it is, also where another serves it."""
KEEP_TEXT_S = 0.3
"""An answer that grows is committed so often."""
RETRIES = 2
"""Of an answer that failed for a reason that passes."""
RETRY_S = 1.0
LONGEST_RETRY_S = 5.0
LOOK = "the operator must look at the provider's key and account"

log = logging.getLogger(__name__)

Event = dict[str, Any]


class Hearing:
    """One session's ear for its model."""

    def __init__(self, floor: Floor) -> None:
        self._floor = floor
        self._responses: dict[str, Answering] = {}
        """Responses in progress, by id, and the answer each belongs to."""
        self._turns: dict[str, int] = {}
        """Items of the caller's that are not known as text yet, and the turn each is."""
        self._tools_begun: set[str] = set()
        """Responses whose tools run while their audio still comes."""
        self._nothing: set[str] = set()
        """Items that hold the caller's silence."""
        self._latency: Latency | None = None
        self._retries = 0
        self._kept_s = 0.0
        self._clock = asyncio.get_running_loop().time

    async def receive(self, event: Event) -> None:
        """Take the next event. One that is not as it should be is logged, and costs nobody anything."""
        handler = _HANDLERS.get(event["type"])
        if handler is not None:
            try:
                await handler(self, event)
            except (KeyError, TypeError, AttributeError, ProviderError) as error:
                log.warning("session %s: a strange %s: %r", self._floor.session.id, event["type"], error)
        self._floor.uplink.alive()
        self._floor.be_patient()

    def new_session(self) -> None:
        """Nothing of the last session with the model comes any more."""
        self._responses.clear()
        self._tools_begun.clear()
        self._turns.clear()
        self._nothing.clear()

    # --- the caller's speech

    async def _speech_started(self, event: Event) -> None:
        floor = self._floor
        floor.uplink.speech_started(event["item_id"], event["audio_start_ms"])
        start_ms = floor.uplink.media_ms(event["audio_start_ms"])
        floor.session.event("speech_started", media_ms=start_ms)
        floor.keeper.wake()
        if floor.tenant.turn.barge_in:
            detection = floor.tenant.relay.turn_detection
            over_ms = start_ms + detection.prefix_padding_ms if isinstance(detection, ServerVad) else None
            await floor.interrupt(by_model=True, spoken_over_ms=over_ms)
        if not floor.answers.audible:
            floor.show("listening")

    async def _speech_stopped(self, event: Event) -> None:
        floor = self._floor
        floor.uplink.speech_stopped(event["item_id"], event["audio_end_ms"])
        floor.session.event("speech_stopped", media_ms=floor.uplink.media_ms(event["audio_end_ms"]))
        detection = floor.tenant.relay.turn_detection
        silence_ms = detection.silence_duration_ms if isinstance(detection, ServerVad) else None
        end_ms = None if silence_ms is None else floor.uplink.media_ms(event["audio_end_ms"]) - silence_ms
        self._latency = Latency(self._clock(), silence_ms, end_ms)

    async def _committed(self, event: Event) -> None:
        floor, item_id = self._floor, event["item_id"]
        by_client = floor.uplink.committed(item_id)
        if item_id in self._nothing:
            floor.uplink.settled(item_id)
            return
        self._turns[item_id], wanted = floor.begin_turn(item_id)
        if wanted and not floor.answers.audible:
            floor.show("thinking")
        if not by_client:
            floor.responses.expect(knows_all=not floor.told, wanted=wanted)
        elif wanted:
            self._latency = Latency(self._clock())
            floor.responses.want()
            await floor.ask()

    async def _item_added(self, event: Event) -> None:
        self._floor.told.discard(event["item"]["id"])

    async def _timed_out(self, event: Event) -> None:
        """The caller said nothing for long: the model takes the silence as a turn, and speaks up."""
        log.info("session %s: the caller is silent, the model speaks up", self._floor.session.id)
        self._nothing.add(event["item_id"])

    async def _transcribed(self, event: Event) -> None:
        floor, item_id, text = self._floor, event["item_id"], event["transcript"].strip()
        floor.answers.settle()
        turn = self._turns.pop(item_id, None)
        if text and turn is not None:
            floor.session.event("transcript", role="user", turn=turn, text=text)
            floor.remember(Item("user", text, turn))
        self._settled(item_id)

    async def _not_transcribed(self, event: Event) -> None:
        log.warning("session %s: not transcribed: %s", self._floor.session.id, classify(event["error"]).text)
        self._turns.pop(event["item_id"], None)
        self._settled(event["item_id"])

    def _settled(self, item_id: str) -> None:
        self._floor.uplink.settled(item_id)
        self._floor.keeper.commit_soon()
        self._floor.pause_if_idle()

    # --- the model's answers

    async def _response_created(self, event: Event) -> None:
        floor, response = self._floor, event["response"]
        ours = response.get("metadata") == OURS
        if not floor.responses.created(response["id"], ours=ours):
            await floor.line.tell(protocol.cancel())
            return
        floor.ask_never()
        answering = self._responses[response["id"]] = floor.answers.open()
        if floor.responses.active_wish.says and not answering.answer.text:
            answering.says = floor.responses.active_wish.says
        floor.keeper.commit_soon()

    async def _audio(self, event: Event) -> None:
        floor, delta = self._floor, event["delta"]
        answering = self._responses.get(event["response_id"])
        if answering is None or answering.cut:
            return
        if not answering.received:
            self._first_audio(answering)
        answering.audio(event["item_id"], event["content_index"], floor.voice.ms(delta))
        floor.voice.put(answering, delta)

    def _first_audio(self, answering: Answering) -> None:
        self._floor.show("speaking")
        self._retries = 0
        if self._floor.tenant.relay.transcription is None:
            self._settle_all()
        if self._latency is not None:
            self._latency.served("model", f"{VENDOR} {self._floor.tenant.relay.model}")
            self._floor.session.timed(answering.turn, self._latency.until("model", self._clock()))
            self._latency = None

    async def _text(self, event: Event) -> None:
        answering = self._responses.get(event["response_id"])
        if answering is None or answering.cut:
            return
        delta = answering.text(event["item_id"], event["delta"])
        self._floor.session.event("transcript_delta", role="assistant", turn=answering.turn, delta=delta)
        if self._clock() - self._kept_s > KEEP_TEXT_S:
            self._kept_s = self._clock()
            self._floor.keeper.commit_soon()

    async def _response_done(self, event: Event) -> None:
        floor, response = self._floor, event["response"]
        if event.get(protocol.AUDIO_FOLLOWS):
            self._words_ended(response)
            return
        floor.responses.done(response["id"])
        answering = self._responses.pop(response["id"], None)
        if floor.tenant.relay.transcription is None:
            self._settle_all()
        if response["status"] == "failed":
            trouble = classify((response.get("status_details") or {}).get("error") or {})
            wish = floor.responses.active_wish if answering is not None else None
            await self._failed(answering, wish, trouble)
        elif answering is not None:
            self._ended(answering, response)
        await floor.ask()
        if not floor.answers.audible and not floor.responses.owed:
            floor.show("listening")
        floor.keeper.commit_soon()
        floor.pause_if_idle()

    def _settle_all(self) -> None:
        """There will be no transcript: what was said is answered, and gone."""
        for item_id in list(self._turns):
            del self._turns[item_id]
            self._settled(item_id)

    def _words_ended(self, response: Event) -> None:
        """Its audio still comes. Tools do not wait for it: what the model says before covers the time they take."""
        answering = self._responses.get(response["id"])
        if answering is None or answering.cut:
            return
        if calls := _calls(response):
            self._tools_begun.add(response["id"])
            self._floor.use_tools(calls, answering.turn)
        elif response["status"] == "completed":
            answering.words_are_whole()
        self._floor.keeper.commit_soon()

    def _ended(self, answering: Answering, response: Event) -> None:
        if not answering.cut:
            answering.audio_is_whole()
        calls = _calls(response)
        if response["status"] == "incomplete":
            reason = (response.get("status_details") or {}).get("reason")
            log.info("session %s: an answer ended early: %s", self._floor.session.id, reason)
        if response["id"] in self._tools_begun:
            self._tools_begun.remove(response["id"])
        elif calls:
            self._floor.use_tools(calls, answering.turn)
        else:
            self._floor.answers.finish(answering)

    async def _failed(self, answering: Answering | None, wish: Wish | None, trouble: Trouble) -> None:
        """The model could not answer `wish` (none: nobody's). `answering` was begun for it, or nothing was."""
        floor = self._floor
        log.warning("session %s: an answer failed: %s", floor.session.id, trouble.text)
        if wish is None or (answering is not None and answering.cut):
            return  # nobody waits for it
        wait_s = min(trouble.retry_after_s or RETRY_S, LONGEST_RETRY_S)
        if floor.hurried and (self._retries or wait_s > RETRY_S):  # the caller would wait for more than 3 s
            await floor.fall_back()
        if trouble.retryable and self._retries < RETRIES:
            self._retries += 1
            floor.ask_later(wait_s, prompting.GO_ON if answering is not None and answering.answer.text else wish)
            return
        await floor.fall_back()
        if answering is not None:
            floor.answers.finish(answering)
        if trouble.kind is Kind.REFUSED:
            await floor.give_up("the model failed", LOOK)
        else:
            floor.session.event("error", code="provider", message="the model failed", hint="say it again", fatal=False)

    # --- what it complains of

    async def _error(self, event: Event) -> None:
        floor, trouble = self._floor, classify(event["error"])
        about = event["error"].get("event_id")
        ours = about == RESPOND_ID
        log.log(_LEVELS.get(trouble.kind, logging.WARNING), "session %s: %s", floor.session.id, trouble.text)
        match trouble.kind:
            case kind if about == protocol.SETTINGS_ID:
                # It would answer as whoever it is by default, in another format.
                floor.line.drop(f"it does not take its settings: {trouble.text}", kind)
            case Kind.BUSY:
                floor.responses.refused(ours=ours, busy=True)
            case Kind.NOTHING_HEARD:
                floor.uplink.nothing_heard()
                hint = "speak first: this event ends an utterance, and nobody spoke"
                message = "there is no speech to answer"
                floor.session.event("error", code="nothing_heard", message=message, hint=hint, fatal=False)
            case Kind.EXPIRED:
                floor.line.drop("its time is over")
            case Kind.REFUSED:
                await floor.give_up("the model refuses", LOOK)
            case Kind.RATE_LIMITED | Kind.UNAVAILABLE if floor.responses.owed and floor.responses.active is None:
                await self._not_begun(trouble, ours=ours or floor.responses.asked is not None)
            case Kind.BAD_REQUEST if ours:
                await self._not_begun(trouble, ours=True)
            case Kind.BAD_REQUEST:
                floor.refused(about, trouble.text)

    async def _not_begun(self, trouble: Trouble, *, ours: bool) -> None:
        """The answer that was asked for (`ours`), or expected, does not come."""
        floor = self._floor
        if (wish := floor.responses.refused(ours=ours, busy=False)) is not None:
            await self._failed(None, wish, trouble)
        if not floor.answers.audible and floor.responses.idle:
            floor.show("listening")


def _calls(response: Event) -> list[ToolCall]:
    """The tools that it uses."""
    return [
        ToolCall(item["call_id"], item["name"], item["arguments"])
        for item in response["output"]
        if item["type"] == "function_call" and response["status"] == "completed"
    ]


_LEVELS = {Kind.HARMLESS: logging.DEBUG, Kind.NOTHING_HEARD: logging.DEBUG, Kind.BAD_REQUEST: logging.ERROR}

_HANDLERS: dict[str, Callable[[Hearing, Event], Awaitable[None]]] = {
    "input_audio_buffer.speech_started": Hearing._speech_started,
    "input_audio_buffer.speech_stopped": Hearing._speech_stopped,
    "input_audio_buffer.committed": Hearing._committed,
    "conversation.item.added": Hearing._item_added,
    "input_audio_buffer.timeout_triggered": Hearing._timed_out,
    "conversation.item.input_audio_transcription.completed": Hearing._transcribed,
    "conversation.item.input_audio_transcription.failed": Hearing._not_transcribed,
    "response.created": Hearing._response_created,
    "response.output_audio.delta": Hearing._audio,
    "response.output_audio_transcript.delta": Hearing._text,
    "response.done": Hearing._response_done,
    "error": Hearing._error,
}
