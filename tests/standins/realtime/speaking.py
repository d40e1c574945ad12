"""The model's side: which responses run, what they are asked for, and what stops them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from openai.types.realtime import RealtimeResponseCreateParams

from .agenda import Agenda
from .conversation import Conversation, Item
from .items import item_from
from .options import Options
from .playing import Cut, Playing
from .refusal import Refused, invalid
from .response import Manner, Response
from .script import Fail, Prompt, Step, steps_of
from .sdk import check_sent
from .usage import Tokens, input_tokens
from .wire import HangUp, Wire

Fields = dict[str, Any]
METADATA_PAIRS = 16


@dataclass(slots=True)
class Trap:
    """Springs when a response has sent `after_audio_ms` of audio: the socket goes down, or (none) the model stalls."""

    after_audio_ms: float
    hang_up: HangUp | None


class Speaking:
    def __init__(
        self,
        wire: Wire,
        agenda: Agenda,
        conversation: Conversation,
        conversation_id: str,
        options: Options,
        new_id: Callable[[str], str],
        *,
        webrtc: bool = False,
    ) -> None:
        self.responses: list[Response] = []
        self.active: Response | None = None
        """The one that writes to the default conversation."""

        self.spoke = False
        self.first_audio_ms = options.first_audio_ms
        self.failures: list[Fail] = []
        """How the next responses fail."""

        self.traps: list[Trap] = []
        self.began: Callable[[], None] = lambda: None
        self.done: Callable[[float], None] = lambda _: None
        """Told how many milliseconds of the response its listener has still to hear."""

        self.config: Fields = {}
        self._wire, self._agenda, self._conversation, self._options = wire, agenda, conversation, options
        self._conversation_id, self._new_id = conversation_id, new_id
        self._runs: dict[str, tuple[Response, Iterator[float]]] = {}
        self._heard_from_ms = 0.0
        self.playing = Playing(wire, self._spring) if webrtc else None
        """What paces the audio of a call over WebRTC; over a socket nothing does."""

    def create(self, params: Fields) -> None:
        """Begin a response; Refused if one is active in the default conversation, or for wrong parameters."""
        in_conversation = self._check(params)
        if in_conversation and self.active is not None:
            message = (
                f"Conversation already has an active response in progress: {self.active.id}. "
                "Wait until the response is finished before creating a new one."
            )
            raise Refused("conversation_already_has_active_response", message)
        instructions = params.get("instructions") or self.config["instructions"]
        items = self._context(params)
        response = Response(
            id=self._new_id("resp"),
            manner=Manner.of(self.config, params, input_tokens(instructions, items)),
            steps=self._steps(items, instructions, params),
            options=self._options,
            emit=self._wire.emit,
            new_id=self._new_id,
            conversation=self._conversation if in_conversation else None,
            conversation_id=self._conversation_id if in_conversation else None,
            first_audio_ms=self.first_audio_ms,
            sent_audio=self._sent_audio,
            play=self.playing.put if self.playing else None,
        )
        self.responses.append(response)
        if in_conversation:
            self.active = response
            self.began()
        steps = response.run()
        self._runs[response.id] = response, steps
        self._step(response, steps, self._agenda.now_ms)

    def cancel(self, response_id: object) -> None:
        """The client's `response.cancel`: the named response, or the active one."""
        found = self._runs[self.active.id] if self.active else None
        if response_id is not None:
            found = self._runs.get(str(response_id))
        if found is None:
            raise Refused("response_cancel_not_active", "Cancellation failed: no active response found")
        self._stop(*found, "client_cancelled")

    def interrupt(self) -> None:
        """Voice detection heard the user: the active response ends, if there is one, and nothing more is sent of it."""
        cuts = self.playing.clear() if self.playing else []
        if self.active:
            self._stop(*self._runs[self.active.id], "turn_detected")
        self._truncate(cuts)

    def clear(self) -> None:
        """The client's `output_audio_buffer.clear`."""
        if self.playing:
            self._truncate(self.playing.clear())

    def _check(self, params: Fields) -> bool:
        """Whether the response belongs to the default conversation."""
        known = {name: value for name, value in params.items() if name != "input"}
        check_sent(RealtimeResponseCreateParams, known, "response")
        if params.get("conversation", "auto") not in ("auto", "none"):
            raise invalid("response.conversation", "expected 'auto' or 'none'.")
        if params.get("output_modalities", ["audio"]) not in (["audio"], ["text"]):
            raise invalid("response.output_modalities", "expected ['audio'] or ['text'].")
        if len(params.get("metadata") or {}) > METADATA_PAIRS:
            raise invalid("response.metadata", "at most 16 pairs.")
        if self.playing and Manner.of(self.config, params, Tokens()).format["type"] != "audio/pcm":
            raise invalid("response.audio.output.format", "over WebRTC it cannot be chosen.")
        return bool(params.get("conversation", "auto") == "auto")

    def _context(self, params: Fields) -> list[Item]:
        """What the model reads: the conversation, or what the client put in its place."""
        if "input" not in params:
            return list(self._conversation.items)
        items = []
        for fields in params["input"]:
            if isinstance(fields, dict) and fields.get("type") == "item_reference":
                items.append(self._conversation.find(fields.get("id"), "response.input", "item_not_found"))
            else:
                kind = self.config["audio"]["input"]["format"]["type"]
                items.append(item_from(fields, "response.input", self._new_id("item"), kind))
        return items

    def _steps(self, items: list[Item], instructions: str, params: Fields) -> list[Step]:
        if self.failures:
            return [self.failures.pop(0)]
        seen = []
        for item in items:
            fields = item.wire()
            if item.spoken and fields.get("role") == "user":
                fields["content"][0]["transcript"] = item.heard(self._options.word_ms)
            seen.append(fields)
        config = copy.deepcopy(self.config)
        return steps_of(self._options.answer(Prompt(seen, instructions, copy.deepcopy(params), config)))

    def _step(self, response: Response, steps: Iterator[float], due_ms: float) -> None:
        if response.id not in self._runs or response.stalled:
            return
        wait_ms = next(steps, None)
        if wait_ms is None:
            self._over(response)
        elif not response.stalled:
            self._agenda.at(due_ms + wait_ms, lambda due_ms: self._step(response, steps, due_ms))

    def _stop(self, response: Response, steps: Iterator[float], reason: str) -> None:
        response.cancel(reason)
        self._over(response)

    def _over(self, response: Response) -> None:
        del self._runs[response.id]
        if self.playing:
            self.playing.made(response.id)
        if response is self.active:
            self.active = None
            self.done(self._still_playing_ms(response))

    def _still_playing_ms(self, response: Response) -> float:
        if self.playing:
            return self.playing.held_ms
        heard_ms = self._agenda.now_ms - self._heard_from_ms
        return 0.0 if response.status == "cancelled" else max(0.0, response.audio_ms - heard_ms)

    def _truncate(self, cuts: list[Cut]) -> None:
        """The server knows what was sent, and forgets the rest itself (PROTOCOLS 1.10); the SDK has no other event."""
        for cut in cuts:
            if cut.item in self._conversation.items:
                self._conversation.truncate(cut.item.id, 0, cut.sent_ms)
                place = {"item_id": cut.item.id, "content_index": 0, "audio_end_ms": cut.sent_ms}
                self._wire.emit("conversation.item.truncated", **place)

    def _sent_audio(self, response: Response) -> None:
        if not self.spoke or (len(response.output[-1].audio) and response.audio_ms <= self._options.chunk_ms):
            self._heard_from_ms = self._agenda.now_ms
        self.spoke = True
        if self.playing is None:
            self._spring(response.id, response.audio_ms)

    def _spring(self, response_id: str, sent_ms: float) -> None:
        """A response has sent so much audio."""
        for trap in [trap for trap in self.traps if sent_ms >= trap.after_audio_ms]:
            self.traps.remove(trap)
            if trap.hang_up is not None:
                self._wire.put(trap.hang_up)
            elif response_id in self._runs:
                self._runs[response_id][0].stalled = True
