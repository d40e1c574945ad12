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
from .refusal import Refused, invalid
from .response import Manner, Response
from .script import Fail, Prompt, Step, steps_of
from .sdk import check_sent
from .usage import input_tokens
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
        self._heard: Response | None = None
        self._heard_from_ms = 0.0

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
        """Voice detection heard the user: the active response ends, if there is one."""
        if self.active:
            self._stop(*self._runs[self.active.id], "turn_detected")

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
        if response is self.active:
            self.active = None
            heard_ms = self._agenda.now_ms - self._heard_from_ms
            stopped = response.status == "cancelled"
            self.done(0.0 if stopped else max(0.0, response.audio_ms - heard_ms))

    def _sent_audio(self, response: Response) -> None:
        if not self.spoke or (len(response.output[-1].audio) and response.audio_ms <= self._options.chunk_ms):
            self._heard_from_ms = self._agenda.now_ms
        self.spoke = True
        for trap in [trap for trap in self.traps if response.audio_ms >= trap.after_audio_ms]:
            self.traps.remove(trap)
            if trap.hang_up is None:
                response.stalled = True
            else:
                self._wire.put(trap.hang_up)
