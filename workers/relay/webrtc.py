"""The link to a Realtime model by WebRTC: the official SDK calls, events come and go by a data channel, audio by RTP.

The API key opens the call. A client secret would do, too, but is for those who must not have the key: browsers.
Nothing is called again here: a new call is a new and empty session, which only the conversation's owner can bring to
where the old one was.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import logging
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

from openai import APIConnectionError, APIStatusError, AsyncOpenAI, OpenAIError

from trunkline.audio.frame import duration_ms
from trunkline.errors import ClientError, NoPortLeft, ProviderError, SettingsError
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Gone, Peer
from workers.alarm import Alarm
from workers.relay import protocol, trouble
from workers.relay.link import LIFETIME_S, ModelLost, lifetime_s
from workers.relay.output_buffer import OutputBuffer
from workers.relay.real_time import RealTime
from workers.relay.trouble import Kind, Trouble

log = logging.getLogger(__name__)

CHANNEL = "oai-events"
CLOSE_S = 0.8
"""How long the model may take to be told that we hang up."""
COMMIT_S = 0.15
"""After its last audio has left, an utterance is said to be over: until then packets may be on their way."""
MOST_UNREAD = 4096
"""Events that wait for the conversation, audio among them: 80 s of it. Nobody who lives is so late."""
NO_UDP = "is UDP to it blocked? The tenant's `relay: {link: websocket}` needs none"

Event = dict[str, Any]


async def connect(client: AsyncOpenAI, model: str, rate_hz: int, *, timeout_s: float) -> WebRtcModel:
    """Open a session with `model`, with audio at `rate_hz`. Raises ModelLost when there is none in time."""
    link = WebRtcModel(client, rate_hz)
    try:
        async with asyncio.timeout(timeout_s):
            await link.open(model)
    except BaseException as error:
        await link.close()
        if isinstance(error, TimeoutError):
            raise ModelLost(f"no session within {timeout_s:g} s: {link.waits_for}", Kind.UNAVAILABLE) from error
        raise
    return link


def network(address: str) -> Network:
    """Where media goes for a model whose API is at the host `address`. It is no stranger, and may have us send to
    private addresses; loopback is there for models on this machine."""
    try:
        here = address == "localhost" or ipaddress.ip_address(address).is_loopback
    except ValueError:
        here = False
    return Network(addresses=("127.0.0.1",) if here else (), private=True)


class WebRtcModel:
    """A ModelLink, and the owner of its peer connection. Made by `connect`."""

    format = None
    in_real_time = True

    def __init__(self, client: AsyncOpenAI, rate_hz: int) -> None:
        self._client = client
        self.rate_hz = rate_hz
        self.session_id = ""
        self.opened_s = 0.0
        self.expires_s = LIFETIME_S
        self.waits_for = "its API does not answer"
        """What stands between us and a session, for whoever gives up."""
        self._peer = Peer(self, rate_hz, network(client.base_url.host))
        self._call_id = ""
        self._date: str | None = None
        self._output = OutputBuffer(rate_hz)
        self._uplink = RealTime(rate_hz)
        self._sent_ms = 0.0
        self._events: deque[Event] = deque()
        self._wake = asyncio.Event()
        self._lost: ModelLost | None = None
        self._closing = False
        self._complaint: Trouble | None = None
        """What the last event complained of, if it was an error: the model may hang up for it."""
        self._patience = Alarm(lambda: self._put(self._output.waited()))
        self._commits: set[asyncio.TimerHandle] = set()
        self._clock = asyncio.get_running_loop().time

    # --- beginning and end

    async def open(self, model: str) -> None:
        """Call, and wait for `session.created`. Raises ModelLost for whatever comes instead."""
        await self._call(model)
        self.waits_for = f"it answered, but nothing came through: {NO_UDP}"
        while (event := await self._receive())["type"] != "session.created":
            if self._complaint is not None:
                raise _lost(self._complaint)
        session = event.get("session")
        if isinstance(session, dict):
            self.session_id = str(session.get("id", ""))
            self.expires_s = lifetime_s(session.get("expires_at"), self._date)
        self.opened_s = self._clock()

    async def _call(self, model: str) -> None:
        try:
            offer = await self._peer.offer(CHANNEL)
            answer = await self._client.realtime.calls.create(sdp=offer, session={"type": "realtime", "model": model})
            headers = answer.response.headers
            self._call_id = headers.get("location", "").rstrip("/").rpartition("/")[2]
            self._date = headers.get("date")
            await self._peer.accept(answer.text)
        except APIStatusError as error:
            refused = error.response
            names = {name.lower(): value for name, value in refused.headers.items()}
            raise _lost(trouble.refused_upgrade(error.status_code, refused.content, names)) from error
        except APIConnectionError as error:
            cause = error.__cause__ or error
            raise ModelLost(f"cannot be reached: {type(cause).__name__}: {cause}", Kind.UNAVAILABLE) from error
        except ClientError as error:
            raise ModelLost(f"it answered what is no answer: {error.message}", Kind.UNAVAILABLE) from error
        except (OpenAIError, NoPortLeft, SettingsError) as error:  # the account, or this machine
            raise ModelLost(f"{type(error).__name__}: {error}", Kind.REFUSED) from error

    async def close(self) -> None:
        if self._closing:
            await self._peer.close()
            return
        self._closing = True
        self._patience.stop()
        for commit in self._commits:
            commit.cancel()
        self._lose(ModelLost("hung up", Kind.UNAVAILABLE))
        async with asyncio.TaskGroup() as group:
            group.create_task(self._peer.close())
            group.create_task(self._hang_up())

    async def _hang_up(self) -> None:
        """A model that does not hear our goodbye would wait, and be paid, for a while."""
        if not self._call_id:
            return
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._client.realtime.calls.hangup(self._call_id)
        except (OpenAIError, TimeoutError) as error:  # it may have heard, and be gone
            log.debug("model session %s: not told that we hang up: %s", self.session_id, error)

    # --- what we say

    async def send(self, event: Event) -> None:
        if self._lost is not None:
            raise self._lost
        match event["type"]:
            case "input_audio_buffer.commit":
                self._commit(event)
            case "response.cancel":
                self._put(self._output.cancel())
                self._say(event)
                self._say({"type": "output_audio_buffer.clear"})
            case "conversation.item.truncate" if not self._output.truncates(event["item_id"]):
                log.debug("model session %s: it cut %s by itself", self.session_id, event["item_id"])
            case _:
                self._say(event)

    def append(self, pcm: bytes) -> None:
        now_ms = self._clock() * 1000
        if self._lost is None and self._uplink.takes(pcm, now_ms):
            self._peer.play(0, round(self._sent_ms), pcm)  # all one turn, which is as little to remember
            self._sent_ms += duration_ms(len(pcm), self.rate_hz)

    def _commit(self, event: Event) -> None:
        """Audio takes its time, events do not: this one is about what the model has yet to hear."""

        def due() -> None:
            self._commits.discard(timer)
            if self._lost is None:
                self._say(event)

        after_s = self._uplink.behind_ms(self._clock() * 1000) / 1000 + COMMIT_S
        timer = asyncio.get_running_loop().call_later(after_s, due)
        self._commits.add(timer)

    def _say(self, event: Event) -> None:
        if not self._peer.send(CHANNEL, json.dumps(event)):
            self._lose(ModelLost(f"its data channel is closed, or takes no {event['type']}", Kind.UNAVAILABLE))

    # --- what the model says

    def events(self) -> AsyncIterator[Event]:
        return _Events(self)

    async def _receive(self) -> Event:
        while not self._events:
            if self._lost is not None:
                raise self._lost
            self._wake.clear()
            await self._wake.wait()
        event = self._events.popleft()
        self._complaint = _complaint(event) if event["type"] == "error" else None
        return event

    def _put(self, events: list[Event]) -> None:
        self._events.extend(events)
        if len(self._events) > MOST_UNREAD:
            self._lose(ModelLost("nobody reads what it says", Kind.UNAVAILABLE))
        self._wake.set()

    def _lose(self, lost: ModelLost) -> None:
        self._lost = self._lost or lost
        self._wake.set()

    # --- what the peer connection says

    def connected(self) -> None:
        self.waits_for = "its data channel does not open"
        self._uplink.begin(self._clock() * 1000)

    def channel_opened(self, label: str) -> None:
        self.waits_for = "it says nothing"

    def channel_closed(self, label: str) -> None:
        """It hears no more of our events, and tells us none: mostly because it is about to hang up."""
        self._lose(_lost(trouble.closed(1000, "its data channel is closed", self._complaint)))

    def audio(self, pcm: bytes) -> None:
        if events := self._output.audio(pcm):
            self._put(events)

    def message(self, label: str, data: str) -> None:
        if label != CHANNEL or self._lost is not None:
            return
        try:
            event = protocol.parse(data.encode())
        except ProviderError as error:
            self._lose(ModelLost(str(error), Kind.UNAVAILABLE))
            return
        if event["type"].startswith("input_audio_buffer."):
            for name in ("audio_start_ms", "audio_end_ms"):
                if isinstance(event.get(name), int):
                    event[name] = self._uplink.heard_ms(event[name])
        self._put(self._output.event(event))
        if self._output.wait_s is not None:
            self._patience.set(self._output.wait_s)

    def gone(self, why: Gone) -> None:
        if why is Gone.CLOSED:
            self._call_id = ""  # it knows
            self._lose(_lost(trouble.closed(1000, "it hung up", self._complaint)))
        elif why is Gone.LOST:
            self._lose(ModelLost(f"nothing comes from {self._peer.stats.candidate} any more", Kind.UNAVAILABLE))
        else:
            self._lose(ModelLost(f"no connection: {NO_UDP}", Kind.UNAVAILABLE))


class _Events:
    """An iterator and no generator: one that is left in the middle needs nobody to clean up behind it."""

    def __init__(self, link: WebRtcModel) -> None:
        self._receive = link._receive

    def __aiter__(self) -> _Events:
        return self

    async def __anext__(self) -> Event:
        return await self._receive()


def _lost(of: Trouble) -> ModelLost:
    return ModelLost(of.text, of.kind, of.retry_after_s)


def _complaint(event: Event) -> Trouble:
    error = event.get("error")
    return trouble.classify(error if isinstance(error, dict) else {})
