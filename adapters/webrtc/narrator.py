"""Tells a session as a Realtime model would: the bus's events as server events of the OpenAI Realtime API. Pure.

That API has an order, which this keeps: a response is created before the first word of it, every item is added before
it is done, and all of it is done before its audio buffer has stopped. What the API has no word for is
`trunkline.<name>`. Ids come from turns, media time and `seq`, so a client that comes back meets the same ones.
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

Event = dict[str, Any]

MAX_UNANSWERED = 16
"""Utterances and typed texts that wait for their transcripts."""
MAX_OUTPUTS = 8
"""Outputs of tools that wait for their `tool_result`; each holds at most 32 KiB."""


@dataclass(slots=True)
class _Speech:
    """An utterance. Its transcript names a turn, which is between the answers before and after it."""

    item_id: str
    start_ms: int
    after_turn: int
    before_turn: float = float("inf")
    stop_ms: int = 0
    stopped: bool = False
    added: bool = False


@dataclass(slots=True)
class _Response:
    """An answer being generated."""

    turn: int
    previous: str | None
    """The item before it."""
    words: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        return f"resp_{self.turn}"

    @property
    def item_id(self) -> str:
        return f"item_{self.turn}"


class Narrator:
    """One client's. All methods return the events to send, in order."""

    def __init__(self, session: str) -> None:
        self._session = session
        self._seq = 0
        self._step = 0
        self._response: _Response | None = None
        self._newest_turn = 0
        """Of all answers that were begun."""
        self._audible: int | None = None
        """The turn whose audio the client is playing."""
        self._cancelled = False
        """The client wants no more of the answer."""
        self._last_item: str | None = None
        self._speeches: deque[_Speech] = deque(maxlen=MAX_UNANSWERED)
        self._typed: deque[tuple[str, str | None]] = deque(maxlen=MAX_UNANSWERED)
        self._outputs: dict[str, tuple[str | None, str]] = {}

    @property
    def hears_speech(self) -> bool:
        """Whether the caller is in the middle of an utterance."""
        return bool(self._speeches) and not self._speeches[-1].stopped

    def began(self) -> list[Event]:
        """The client's channel is open."""
        return [self._event("session.created", session=self._about())]

    def _about(self) -> Event:
        about = {"type": "realtime", "object": "realtime.session", "id": self._session}
        return {**about, "output_modalities": ["audio"]}

    # --- what the client did itself

    def updated(self) -> list[Event]:
        """Its wish was passed on; a refusal comes later."""
        return [self._event("session.updated", session=self._about())]

    def cleared_input(self) -> list[Event]:
        """There was no utterance, and there is none."""
        return [self._event("input_audio_buffer.cleared")]

    def wrong(self, code: str, message: str, hint: str, event_id: str | None) -> list[Event]:
        """What the client sent is not right."""
        return [self._error("invalid_request_error", code, message, hint, event_id)]

    def typed(self, text: str, item_id: str | None) -> None:
        """The user typed this: so it is no utterance when it comes back as a transcript."""
        self._typed.append((text, item_id))

    def answered(self, call_id: str, output: str, item_id: str | None) -> None:
        """A tool of the client's answered; that counts once its `tool_result` says so."""
        self._outputs[call_id] = item_id, output
        if len(self._outputs) > MAX_OUTPUTS:
            del self._outputs[next(iter(self._outputs))]

    def cancelled(self) -> None:
        """It wants no more of the answer."""
        self._cancelled = True

    # --- what the session does

    def playing(self, turn: int) -> list[Event]:
        """Audio of this turn goes out."""
        if turn == self._audible:
            return []
        events = self._stopped() if self._audible is not None else []
        self._audible = turn
        return [*events, *self._open(turn), self._event("output_audio_buffer.started", response_id=f"resp_{turn}")]

    def tell(self, seq: int, name: str, data: dict[str, Any]) -> list[Event]:
        """One event of the bus, as on `/ws`."""
        if seq != self._seq:
            self._seq, self._step = seq, 0
        teller = _TELLERS.get(name)
        return list(teller(self, data)) if teller is not None else [self._ours(name, data)]

    def _ours(self, name: str, data: dict[str, Any]) -> Event:
        """What the API has no word for."""
        return self._event(f"trunkline.{name}", seq=self._seq, **data)

    def _event(self, kind: str, **fields: Any) -> Event:
        self._step += 1
        return {"type": kind, "event_id": f"event_{self._seq:x}_{self._step}", **fields}

    def _error(self, kind: str, code: str, message: str, hint: str, event_id: str | None = None) -> Event:
        error = {"type": kind, "code": code, "message": f"{message} ({hint})" if hint else message}
        return self._event("error", error=error if event_id is None else {**error, "event_id": event_id})

    def _told_error(self, data: dict[str, Any]) -> list[Event]:
        code = data.get("code", "internal")
        kind = "server_error" if code in ("provider", "internal") else "invalid_request_error"
        return [self._error(kind, code, data.get("message", ""), data.get("hint", ""))]

    # --- the user

    def _speech_started(self, data: dict[str, Any]) -> list[Event]:
        at_ms = data["media_ms"]
        speech = _Speech(f"item_at_{at_ms}", at_ms, self._newest_turn)
        self._speeches.append(speech)
        return [self._event("input_audio_buffer.speech_started", audio_start_ms=at_ms, item_id=speech.item_id)]

    def _speech_stopped(self, data: dict[str, Any]) -> list[Event]:
        at_ms = data["media_ms"]
        if not self.hears_speech:  # it began before this client's channel
            self._speeches.append(_Speech(f"item_at_{at_ms}", at_ms, self._newest_turn))
        speech = self._speeches[-1]
        speech.stop_ms, speech.stopped = at_ms, True
        return [
            self._event("input_audio_buffer.speech_stopped", audio_end_ms=at_ms, item_id=speech.item_id),
            self._committed(speech.item_id),
        ]

    def _committed(self, item_id: str) -> Event:
        return self._event("input_audio_buffer.committed", item_id=item_id, previous_item_id=self._last_item)

    def _went_on(self, data: dict[str, Any]) -> list[Event]:
        """What was said was no interruption: it is no utterance either, and has no transcript."""
        if self._speeches and self._speeches[-1].stopped and not self._speeches[-1].added:
            self._speeches.pop()
        return [self._ours("resume", data)]

    def _transcript(self, data: dict[str, Any]) -> Iterable[Event]:
        if data.get("role") != "user":
            return [self._ours("transcript", data)]  # what of the answer was heard
        turn, text = data["turn"], data["text"]
        for each in self._typed:
            if each[0] == text:
                self._typed.remove(each)
                return self._item(_user(each[1] or f"item_{turn}", {"type": "input_text", "text": text}))
        return self._transcribed(turn, text)

    def _transcribed(self, turn: int, text: str) -> list[Event]:
        events = []
        speech = next((each for each in self._speeches if each.after_turn < turn < each.before_turn), None)
        if speech is None:  # nobody heard it begin: the client said where it ends
            speech = _Speech(f"item_{turn}", 0, turn)
            events.append(self._committed(speech.item_id))
        else:
            self._speeches.remove(speech)
        if not speech.added:
            events += self._item(_spoken(speech.item_id))
        seconds = max(0, speech.stop_ms - speech.start_ms) / 1000
        completed = self._event(
            "conversation.item.input_audio_transcription.completed",
            **{"item_id": speech.item_id, "content_index": 0, "transcript": text},
            usage={"type": "duration", "seconds": seconds},
        )
        return [*events, completed]

    def _delta(self, data: dict[str, Any]) -> list[Event]:
        turn, delta = data["turn"], data["delta"]
        events = self._open(turn) if data["role"] == "assistant" else []
        if self._response is None or self._response.turn != turn:
            return [*events, self._ours("transcript_delta", data)]  # late: of an answer that is over
        self._response.words.append(delta)
        kind = "response.output_audio_transcript.delta"
        return [*events, self._event(kind, **_part_of(turn), delta=delta)]

    def _item(self, item: Event) -> list[Event]:
        """A whole item of the conversation, after all others."""
        previous, self._last_item = self._last_item, item["id"]
        kinds = ("conversation.item.added", "conversation.item.done")
        return [self._event(kind, item=item, previous_item_id=previous) for kind in kinds]

    # --- the answer

    def _open(self, turn: int) -> list[Event]:
        """The answer `turn` is in progress, if it is not over."""
        if turn <= self._newest_turn:
            return []
        events = self._close("completed" if self._audible is not None else "cancelled")
        for speech in self._speeches:
            if speech.stopped and speech.before_turn > turn:
                speech.before_turn = turn
                events += self._item(_spoken(speech.item_id))
                speech.added = True
        while self._speeches and self._speeches[0].before_turn < self._newest_turn:
            self._speeches.popleft()  # nobody transcribes it any more
        response = self._response = _Response(turn, self._last_item)
        self._newest_turn, self._last_item, self._cancelled = turn, response.item_id, False
        item = _assistant(response.item_id, "in_progress")
        events += [
            self._event("response.created", response=self._about_response(response.id, "in_progress")),
            self._event("response.output_item.added", response_id=response.id, output_index=0, item=item),
            self._event("conversation.item.added", item=item, previous_item_id=response.previous),
            self._event("response.content_part.added", **_part_of(turn), part={"type": "audio", "transcript": ""}),
        ]
        return events

    def _close(self, status: str) -> list[Event]:
        """The answer that is in progress is over, if there is one."""
        response, self._response = self._response, None
        if response is None:
            return []
        text = "".join(response.words)
        item = _assistant(response.item_id, "completed" if status == "completed" else "incomplete", text)
        part = {"type": "audio", "transcript": text}
        prefix = _part_of(response.turn)
        return [
            self._event("response.output_audio.done", **prefix),
            self._event("response.output_audio_transcript.done", **prefix, transcript=text),
            self._event("response.content_part.done", **prefix, part=part),
            self._event("response.output_item.done", response_id=response.id, output_index=0, item=item),
            self._event("conversation.item.done", item=item, previous_item_id=response.previous),
            self._event("response.done", response=self._about_response(response.id, status, item)),
        ]

    def _about_response(self, response_id: str, status: str, *output: Event) -> Event:
        about: Event = {"id": response_id, "object": "realtime.response", "status": status, "status_details": None}
        if status == "cancelled":
            reason = "client_cancelled" if self._cancelled else "turn_detected"
            about["status_details"] = {"type": "cancelled", "reason": reason}
        return {**about, "output": list(output), "output_modalities": ["audio"], "usage": None, "metadata": None}

    def _all_played(self, data: dict[str, Any]) -> list[Event]:
        over = self._response is not None and self._response.turn == data["turn"]
        events = self._close("completed") if over else []
        return [*events, *(self._stopped() if self._audible == data["turn"] else [])]

    def _stopped(self, how: str = "stopped") -> list[Event]:
        turn, self._audible = self._audible, None
        return [self._event(f"output_audio_buffer.{how}", response_id=f"resp_{turn}")]

    def _clear(self, data: dict[str, Any]) -> list[Event]:
        """Nothing more may be heard of this turn, and of those before it."""
        turn = data["turn"]
        events = self._close("cancelled") if self._response is not None and self._response.turn <= turn else []
        if self._audible is not None and self._audible <= turn:
            heard = {"item_id": f"item_{self._audible}", "content_index": 0, "audio_end_ms": data.get("ms", 0)}
            events += [*self._stopped("cleared"), self._event("conversation.item.truncated", **heard)]
        return events

    def _state(self, data: dict[str, Any]) -> list[Event]:
        """Who listens again without having been heard has been interrupted before the first sound."""
        silent = data.get("state") == "listening" and self._audible is None
        return [*(self._close("cancelled") if silent else []), self._ours("state", data)]

    # --- tools

    def _tool_call(self, data: dict[str, Any]) -> list[Event]:
        """A response of its own, that is done at once: a client acts on what is done, and an answer that is being
        played is not."""
        call_id, name = data["call_id"], data["tool"]
        arguments = json.dumps(data["arguments"], ensure_ascii=False)
        response_id, item_id, previous = f"resp_{call_id}", f"item_{call_id}", self._last_item
        call = {"id": item_id, "object": "realtime.item", "type": "function_call", "call_id": call_id, "name": name}
        begun, done = {**call, "status": "in_progress", "arguments": ""}, {**call, "status": "completed"}
        done["arguments"] = arguments
        self._last_item = item_id
        of = {"response_id": response_id, "output_index": 0}
        within = {**of, "item_id": item_id, "call_id": call_id}
        return [
            self._event("response.created", response=self._about_response(response_id, "in_progress")),
            self._event("response.output_item.added", **of, item=begun),
            self._event("conversation.item.added", item=begun, previous_item_id=previous),
            self._event("response.function_call_arguments.delta", **within, delta=arguments),
            self._event("response.function_call_arguments.done", **within, name=name, arguments=arguments),
            self._event("response.output_item.done", **of, item=done),
            self._event("conversation.item.done", item=done, previous_item_id=previous),
            self._event("response.done", response=self._about_response(response_id, "completed", done)),
        ]

    def _tool_result(self, data: dict[str, Any]) -> list[Event]:
        item_id, output = self._outputs.pop(data["call_id"], (None, None))
        events = []
        if output is not None and data["ok"]:
            item = {"id": item_id or f"item_output_{data['call_id']}", "object": "realtime.item"}
            kind = {"type": "function_call_output", "status": "completed"}
            events = self._item({**item, **kind, "call_id": data["call_id"], "output": output})
        return [*events, self._ours("tool_result", data)]


def _part_of(turn: int) -> Event:
    """Where the words of an answer belong."""
    return {"response_id": f"resp_{turn}", "item_id": f"item_{turn}", "output_index": 0, "content_index": 0}


def _user(item_id: str, part: Event) -> Event:
    item = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed"}
    return {**item, "role": "user", "content": [part]}


def _spoken(item_id: str) -> Event:
    return _user(item_id, {"type": "input_audio", "transcript": None})


def _assistant(item_id: str, status: str, text: str | None = None) -> Event:
    item = {"id": item_id, "object": "realtime.item", "type": "message", "status": status}
    content = [] if text is None else [{"type": "output_audio", "transcript": text}]
    return {**item, "role": "assistant", "content": content}


_TELLERS: dict[str, Callable[[Narrator, dict[str, Any]], Iterable[Event]]] = {
    "speech_started": Narrator._speech_started,
    "speech_stopped": Narrator._speech_stopped,
    "transcript": Narrator._transcript,
    "transcript_delta": Narrator._delta,
    "response_done": Narrator._all_played,
    "clear": Narrator._clear,
    "resume": Narrator._went_on,
    "state": Narrator._state,
    "tool_call": Narrator._tool_call,
    "tool_result": Narrator._tool_result,
    "error": Narrator._told_error,
}
