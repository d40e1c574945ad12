"""The Realtime API's wire: settings, items and commands to client events, and bytes to server events. Pure.

Events are plain dicts as OpenAI documents them, told apart by their `type`. Tests hold every one that is built here to
the official SDK's types.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from pydantic import ValidationError
from pydantic_core import from_json

from trunkline.audio import g711
from trunkline.audio.frame import check_whole
from trunkline.errors import AudioError, ClientError, ProviderError

if TYPE_CHECKING:  # both know Redis; here they are only shapes
    from trunkline.tenants import Tenant
    from workers.backend import Item

Event = dict[str, Any]

PROVIDER = "openai_realtime"

SETTINGS_ID = "settings"
"""The event id of a session's whole configuration: an error that names it says that the session has none of it."""

AUDIO_FOLLOWS = "audio_follows"
"""A field of ours: of a `response.done` that is ahead of the response's audio."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """How a session's audio travels to the model and back."""

    wire: Mapping[str, Any]
    """As the session object names it."""
    rate_hz: int
    """Rate of the s16le mono PCM that `encode` takes and `decode` gives."""
    from_pcm: Callable[[bytes], bytes]
    to_pcm: Callable[[bytes], bytes]

    def encode(self, pcm: bytes) -> str:
        """PCM to base64; AudioError if a sample is cut in half."""
        return binascii.b2a_base64(self.from_pcm(pcm), newline=False).decode("ascii")

    def decode(self, audio: str) -> bytes:
        """Base64 to PCM. Raises ProviderError for what is no base64, or cuts a sample in half."""
        try:
            return self.to_pcm(base64.b64decode(audio, validate=True))
        except (ValueError, AudioError) as error:
            raise ProviderError(PROVIDER, f"audio that cannot be read: {error}") from error


def _whole(pcm: bytes) -> bytes:
    check_whole(pcm)
    return pcm


PCMU = AudioFormat({"type": "audio/pcmu"}, 8000, g711.pcm_to_ulaw, g711.ulaw_to_pcm)
PCM = AudioFormat({"type": "audio/pcm", "rate": 24_000}, 24_000, _whole, _whole)
"""The API's only rate of PCM."""


def format_for(session_rate_hz: int) -> AudioFormat:
    """Mu-law for a telephone's 8 kHz, an eighth of the bytes and no resampling; PCM at 24 kHz for every other rate."""
    return PCMU if session_rate_hz == PCMU.rate_hz else PCM


_PLACES: dict[str, tuple[str, ...]] = {
    "instructions": ("instructions",),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "turn_detection": ("audio", "input", "turn_detection"),
    "transcription": ("audio", "input", "transcription"),
    "max_output_tokens": ("max_output_tokens",),
}
"""Where the session object has what a client may be allowed to change (`trunkline.tenants.Updatable`)."""


def session_update(tenant: Tenant, audio: AudioFormat | None, tools: Iterable[Mapping[str, Any]] = ()) -> Event:
    """The whole configuration of a session with the model. `audio`: how events carry it; None where none do, which is
    where the API leaves no choice. `tools` are function tools as the API has them."""
    relay = tenant.relay
    session: Event = {
        "type": "realtime",
        "output_modalities": ["audio"],
        "audio": {
            "input": {
                "noise_reduction": {"type": relay.noise_reduction} if relay.noise_reduction else None,
            },
            "output": {},
        },
        "tools": [dict(tool) for tool in tools],
        "tool_choice": "auto",
        "truncation": "auto",
    }
    if relay.reasoning_effort is not None:  # models that do not reason refuse the field
        session["reasoning"] = {"effort": relay.reasoning_effort}
    if audio is not None:
        for side in ("input", "output"):
            _put(session, ("audio", side, "format"), dict(audio.wire))
    for name, value in _updatable(tenant).items():
        _put(session, _PLACES[name], value)
    return {"type": "session.update", "session": session}


def _updatable(tenant: Tenant) -> dict[str, Any]:
    """What `_PLACES` has, as the API writes it."""
    relay = tenant.relay
    return {
        "instructions": tenant.prompt,
        "voice": {"id": relay.voice} if relay.voice.startswith("voice_") else relay.voice,
        "speed": relay.speed,
        "turn_detection": _turn_detection(tenant),
        "transcription": relay.transcription and relay.transcription.model_dump(exclude_none=True),
        "max_output_tokens": relay.max_output_tokens,
    }


def _turn_detection(tenant: Tenant) -> Event | None:
    """The model always answers by itself, and cuts itself short (`interrupt_response`) only where it is the one to
    notice interruptions.

    With `relay.barge_in: local` whoever confirms the interruption sends `response.cancel`: otherwise noise that only
    the model takes for speech would end an answer that we play on. With `turn.barge_in: false` nobody cancels. In both
    cases the model may want to answer while it still speaks, which it then reports as Kind.BUSY.
    """
    detection = tenant.relay.turn_detection
    if detection is None:
        return None
    interrupts = tenant.turn.barge_in and tenant.relay.barge_in == "model"
    return {**detection.model_dump(), "create_response": True, "interrupt_response": interrupts}


def client_update(session: Mapping[str, Any], tenant: Tenant) -> tuple[Tenant, Event]:
    """What a client's `session.update` makes of its tenant's settings, and the event that tells the model.

    The client writes a field flat (`voice`) or where the API has it (`audio.output.voice`); of an object of the same
    `type`, only the keys it names change. The tenant returned is for this session only: a later session with the model
    is to be opened with it. Raises ClientError `not_allowed` for a field that the tenant does not leave to its
    clients, and `bad_session` for a wrong value.
    """
    given = _flat(session)
    for name in given:
        if name not in tenant.relay.client_may_update:
            allowed = ", ".join(tenant.relay.client_may_update) or "nothing"
            raise ClientError(
                "not_allowed", f"session.{name[:64]} is not yours to change", f"you may change: {allowed}"
            )
    if not given:
        _bad("session changes nothing", f"name at least one of: {', '.join(tenant.relay.client_may_update)}")
    relay = tenant.relay.model_dump()
    for name, value in given.items():
        relay[name] = _merged(relay.get(name), value)
    values = tenant.model_dump() | {"prompt": relay.pop("instructions", tenant.prompt), "relay": relay}
    try:
        changed = tenant.model_validate(values, strict=True)
    except ValidationError as error:
        wrong = error.errors(include_url=False, include_input=False)[0]
        _bad(f"{_client_name(wrong['loc'])}: {wrong['msg']}", "the limits are those of the tenant's own settings")
    update: Event = {"type": "realtime"}
    new = _updatable(changed)
    for name in given:
        _put(update, _PLACES[name], new[name])
    return changed, {"type": "session.update", "session": update}


def changed(before: Tenant, after: Tenant) -> dict[str, Any]:
    """What `client_update` changed, as a client could write it; whatever was set in several steps, in one."""
    old, new = ({**each.relay.model_dump(mode="json"), "instructions": each.prompt} for each in (before, after))
    return {name: new[name] for name in _PLACES if new[name] != old[name]}


def _flat(session: Mapping[str, Any]) -> dict[str, Any]:
    """A client's session as names of `_PLACES`, and dotted paths for what those do not have."""
    names = {".".join(path): name for name, path in _PLACES.items()}
    given: dict[str, Any] = {}

    def walk(values: Mapping[str, Any], prefix: str) -> None:
        for key, value in values.items():
            path = f"{prefix}{key}"
            if path in ("audio", "audio.input", "audio.output") and isinstance(value, Mapping):
                walk(value, f"{path}.")
                continue
            name = path if "." in key else names.get(path, path)  # `audio.output.voice` as one key is no field
            if name in given:
                _bad(f"session has {name} twice", "write it flat or in its place, not both")
            given[name] = value

    walk({key: value for key, value in session.items() if (key, value) != ("type", "realtime")}, "")
    return given


def _merged(before: object, given: object) -> object:
    if isinstance(before, dict) and isinstance(given, dict) and given.get("type") in (None, before.get("type")):
        return {**before, **given}
    return given


def _client_name(loc: tuple[int | str, ...]) -> str:
    """Where a setting of the tenant is for a client."""
    parts = [str(part) for part in loc if part not in ("relay", "server_vad", "semantic_vad")]
    return "instructions" if parts == ["prompt"] else ".".join(parts)


def _bad(message: str, hint: str) -> NoReturn:
    raise ClientError("bad_session", message, hint)


def _put(session: Event, path: tuple[str, ...], value: object) -> None:
    for key in path[:-1]:
        session = session.setdefault(key, {})
    session[path[-1]] = value


def user_text(text: str) -> Event:
    """Something the user wrote."""
    return _create(_message("user", "input_text", text))


def item(of: Item) -> list[Event]:
    """The events that put an item of an earlier session back into the conversation; none for an empty one.

    A tool's is its call and its output. The API takes an assistant's part as text only.
    """
    if of.role == "tool":
        if of.tool is None:  # an output needs a call to belong to
            return [_create(_message("system", "input_text", of.text))] if of.text else []
        call = {"type": "function_call", "call_id": of.tool.id, "name": of.tool.name, "arguments": of.tool.arguments}
        return [_create(call), tool_output(of.tool.id, of.text)]
    if not of.text:
        return []
    return [_create(_message(of.role, "input_text" if of.role == "user" else "output_text", of.text))]


def retold(item_id: str, text: str) -> list[Event]:
    """The events that put `text` in the place of an assistant's item; an empty one only goes."""
    delete = {"type": "conversation.item.delete", "item_id": item_id}
    if not text:
        return [delete]
    return [{**_create(_message("assistant", "output_text", text)), "previous_item_id": item_id}, delete]


def tool_output(call_id: str, output: str) -> Event:
    """What a tool answered, as JSON. One for each call; the model says nothing of it before `respond`."""
    return _create({"type": "function_call_output", "call_id": call_id, "output": output})


def _message(role: str, kind: str, text: str) -> Event:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def _create(made: Event) -> Event:
    return {"type": "conversation.item.create", "item": made}


def truncate(item_id: str, content_index: int, audio_end_ms: int) -> Event:
    """Cut the model's audio, and its memory of it, at what was heard. Beyond the item's end: a harmless error."""
    return {
        "type": "conversation.item.truncate",
        "item_id": item_id,
        "content_index": content_index,
        "audio_end_ms": audio_end_ms,
    }


def respond(instructions: str | None = None, *, metadata: Mapping[str, str] | None = None) -> Event:
    """Have the model answer now. `instructions` replace the session's for this response; `metadata` comes back in its
    events."""
    response: Event = {"instructions": instructions} if instructions else {}
    if metadata:
        response["metadata"] = dict(metadata)
    return {"type": "response.create"} | ({"response": response} if response else {})


def cancel(response_id: str | None = None) -> Event:
    """End a response; the one that runs in the conversation, without its id. Nothing running: a harmless error."""
    return {"type": "response.cancel"} | ({"response_id": response_id} if response_id else {})


def commit() -> Event:
    """What was appended is an utterance, without turn detection. Needs 100 ms, and does not ask for an answer."""
    return {"type": "input_audio_buffer.commit"}


def probe() -> Event:
    """Changes nothing, and is answered by `session.updated`: the model lives, and has read all that came before."""
    return {"type": "session.update", "session": {"type": "realtime"}}


def append(audio: str) -> str:
    """Base64 audio as the JSON of its event: a telephone's 50 a second are why this builds text, not a dict."""
    return f'{{"type":"input_audio_buffer.append","audio":"{audio}"}}'


def parse(data: bytes) -> Event:
    """One server event. Raises ProviderError for what is no JSON object with a `type`.

    pydantic's parser: for 200 ms of audio 1.5 microseconds, where json takes 11 and the SDK's models 53. It also has a
    limit of its own to nesting, and refuses halves of surrogate pairs, which nobody after us could encode.
    """
    try:
        event = from_json(data)
    except ValueError as error:
        raise ProviderError(PROVIDER, f"an event that is no JSON: {error}") from error
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ProviderError(PROVIDER, "an event that is no object with a type")
    return event
