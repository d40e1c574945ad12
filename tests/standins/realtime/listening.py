"""The user's side: the input audio buffer, turns by voice detection, transcription, the idle timeout."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from typing import Any

from .agenda import Agenda
from .conversation import Conversation, Item
from .options import Options
from .refusal import Refused, invalid, missing
from .speaking import Speaking
from .uplink import Uplink
from .usage import transcription_usage
from .vad import Edge
from .wire import Wire

Fields = dict[str, Any]
SHORTEST_COMMIT_MS = 100
LARGEST_APPEND_BYTES = 15 << 20


class Listening:
    def __init__(
        self,
        wire: Wire,
        agenda: Agenda,
        conversation: Conversation,
        speaking: Speaking,
        options: Options,
        new_id: Callable[[str], str],
    ) -> None:
        self.uplink = Uplink(vad_floor_ms=options.vad_floor_ms, keep=options.keep_audio)
        self.appends = 0
        self.transcriptions_to_fail = 0
        self._wire, self._agenda, self._conversation, self._speaking = wire, agenda, conversation, speaking
        self._options, self._new_id = options, new_id
        self._config: Fields = {}
        self._item_id = ""
        self._began_ms = 0
        self._quiet_since: object = None
        """What the pending idle timeout holds; another object means that it is out of date."""

    def configure(self, config: Fields) -> None:
        """`config` is `session.audio.input`."""
        self._config = config
        self.uplink.configure(config["format"]["type"], config["turn_detection"])

    def append(self, event: Fields) -> None:
        encoded = event.get("audio")
        if not isinstance(encoded, str):
            raise missing("audio")
        try:
            audio = base64.b64decode(encoded, validate=True)
        except binascii.Error as error:
            raise invalid("audio", f"expected base64-encoded audio bytes: {error}") from None
        if len(audio) > LARGEST_APPEND_BYTES:
            raise invalid("audio", "at most 15 MiB in one event.")
        self.hear(audio)

    def hear(self, audio: bytes) -> None:
        """Audio in the session's format, from an event or from an audio track."""
        self.appends += 1
        for edge in self.uplink.append(audio):
            if edge.begins:
                self._speech_started(edge)
            else:
                self._speech_stopped(edge)

    def commit(self) -> None:
        held_ms = self.uplink.held_ms
        if held_ms < SHORTEST_COMMIT_MS:
            message = (
                "Error committing input audio buffer: buffer too small. Expected at least 100ms of audio, "
                f"but buffer only has {held_ms:.2f}ms of audio."
            )
            raise Refused("input_audio_buffer_commit_empty", message)
        self._commit(self._item_id if self.uplink.speaking else self._new_id("item"), self.uplink.take())
        self.uplink.restart()

    def clear(self) -> None:
        self.uplink.clear()
        self._wire.emit("input_audio_buffer.cleared")

    def response_done(self, still_playing_ms: float) -> None:
        """From when the client has played it, `idle_timeout_ms` without speech bring a response about."""
        idle_ms = (self._config["turn_detection"] or {}).get("idle_timeout_ms")
        if idle_ms and not self.uplink.speaking:
            quiet_since = self._quiet_since = object()
            self._agenda.after(still_playing_ms + idle_ms, lambda _: self._timed_out(quiet_since, idle_ms))

    def response_began(self) -> None:
        self._quiet_since = None

    def _speech_started(self, edge: Edge) -> None:
        self._quiet_since = None
        self._item_id, self._began_ms = self._new_id("item"), max(0, edge.at_ms - self.uplink.prefix_ms)
        self._wire.emit("input_audio_buffer.speech_started", item_id=self._item_id, audio_start_ms=self._began_ms)
        if self._config["turn_detection"]["interrupt_response"]:
            self._speaking.interrupt()

    def _speech_stopped(self, edge: Edge) -> None:
        self._wire.emit("input_audio_buffer.speech_stopped", item_id=self._item_id, audio_end_ms=edge.at_ms)
        self._commit(self._item_id, self.uplink.take(self._began_ms, edge.at_ms))
        self._respond()

    def _timed_out(self, quiet_since: object, idle_ms: int) -> None:
        if quiet_since is not self._quiet_since:
            return
        self._quiet_since = None
        end_ms = round(self.uplink.appended_ms)
        start_ms, item_id = max(0, end_ms - idle_ms), self._new_id("item")
        self._wire.emit(
            "input_audio_buffer.timeout_triggered", item_id=item_id, audio_start_ms=start_ms, audio_end_ms=end_ms
        )
        self._commit(item_id, self.uplink.take(start_ms, end_ms))
        self._respond()

    def _respond(self) -> None:
        if self._config["turn_detection"]["create_response"]:
            try:
                self._speaking.create({})
            except Refused as refused:  # one is active, and interrupt_response is false
                self._wire.refuse(refused, None)

    def _commit(self, item_id: str, audio: bytes) -> None:
        self._quiet_since = None
        head: Fields = {"id": item_id, "object": "realtime.item", "type": "message", "status": "completed"}
        content = [{"type": "input_audio", "transcript": None}]
        item = Item({**head, "role": "user", "content": content}, audio, self.uplink.format_name)
        self._wire.emit("input_audio_buffer.committed", item_id=item_id, previous_item_id=self._conversation.last_id())
        self._conversation.insert(item)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self._wire.emit(kind, item=item.wire(), previous_item_id=self._conversation.before(item))
        transcription = self._config["transcription"]
        if transcription is not None:
            model = transcription.get("model")
            self._agenda.after(self._options.transcribe_ms, lambda _: self._transcribe(item, model))

    def _transcribe(self, item: Item, model: str | None) -> None:
        kind, place = "conversation.item.input_audio_transcription", {"item_id": item.id, "content_index": 0}
        if self.transcriptions_to_fail:
            self.transcriptions_to_fail -= 1
            message = "Input transcription failed: the audio could not be transcribed."
            error = {"type": "transcription_error", "code": "audio_unintelligible", "message": message, "param": None}
            self._wire.emit(f"{kind}.failed", **place, error=error)
            return
        transcript = item.heard(self._options.word_ms)
        item.fields["content"][0]["transcript"] = transcript
        for place_in, word in enumerate(transcript.split()):
            self._wire.emit(f"{kind}.delta", **place, delta=f" {word}" if place_in else word)
        usage = transcription_usage(model, item, transcript)
        self._wire.emit(f"{kind}.completed", **place, transcript=transcript, usage=usage)
