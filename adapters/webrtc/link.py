"""One WebRTC call as a session's link: audio by RTP, all else by data channels, and who says what was heard."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from adapters.bridge import Bridge
from adapters.messages import ClientMessage, Stop, weight
from adapters.pace import MessagePace, Pace, Patience
from adapters.webrtc.languages import Language, language_of
from adapters.webrtc.protocol import PlayedAt
from trunkline.audio.frame import bytes_in, duration_ms
from trunkline.errors import ClientError
from trunkline.rtc.ice import Network
from trunkline.rtc.peer import Gone, Peer, PeerStats

log = logging.getLogger(__name__)

EARLY_EVENTS = 200
"""Events kept for a client whose first channel is not open yet."""
EARLY_AUDIO_MS = 5_000
"""Audio kept until there is a bridge; the newest of it."""
UPLINK_SPEED = 1.1
"""Audio that comes faster than this is no microphone's: what is too much is dropped."""
UPLINK_AHEAD_S = 1.0
UPLINK_CREDIT_S = 10.0
"""The longest hole in a stream that `trunkline.rtc` fills with silence, which then comes at once."""
MESSAGES_PER_S = 100
"""A data channel carries no audio, and cannot be made to wait: who is faster is refused."""
MESSAGES_AT_ONCE = 500
LOOK_S = 0.1
"""What was sent is taken for heard after so long, unless the client says what it hears."""
SETTLED_S = 0.5
"""The same for a client that says it, where nothing came after: its last word may be about a packet before the last."""
LAST_WORDS_S = 0.2
"""What the client is told last has so long to leave."""


class _Sent(NamedTuple):
    """A piece of an answer that was given to the peer."""

    turn: int
    offset_ms: int
    pcm: bytes


class WebRtcLink:
    """One peer connection. `open` answers its offer; then `run` serves until the call or the session ends.

    Implements `adapters.link.Link`, and `trunkline.rtc.peer.Owner`.
    """

    def __init__(self, network: Network, rate_hz: int) -> None:
        self.on_connected: Callable[[], None] = _nothing
        """Called once, when audio may flow."""
        self._rate_hz = rate_hz
        self._peer = Peer(self, rate_hz, network)
        self._bridge: Bridge | None = None
        self._channels: dict[str, Language] = {}
        self._early: deque[tuple[int, str, dict[str, Any]]] | None = deque(maxlen=EARLY_EVENTS)
        """None once a channel was open."""
        self._early_labels: list[str] = []
        self._early_audio: deque[bytes] = deque()
        self._early_bytes = 0
        self._seq = 0
        self._unsent = 0
        self._uplink_pace = Pace(UPLINK_AHEAD_S, speed=UPLINK_SPEED, credit_s=UPLINK_CREDIT_S)
        self._uplink_dropped_ms = 0.0
        self._message_pace = MessagePace(MESSAGES_PER_S, MESSAGES_AT_ONCE)
        self._patience = Patience()
        self._playing: deque[_Sent] = deque()
        """What was given to the peer and has not left whole."""
        self._client_says = False
        """Whether the client says what it hears."""
        self.said: tuple[int, int] | None = None
        """Which (turn, ms) it said last."""
        self._sent_before = (0, 0)
        self._sent_before_s = 0.0
        """Since when `sent` is that."""
        self._looking: asyncio.TimerHandle | None = None
        self._sent_away = False
        self._outcome = ""
        self._fault: Exception | None = None
        self._over = asyncio.Event()

    # --- its life

    async def open(self, offer: str) -> str:
        """The answer to a client's SDP. Raises ClientError, and then there is nothing to close."""
        return await self._peer.answer(offer)

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        """Candidates of the client that came later. Raises ClientError."""
        await self._peer.add_candidates(candidates)

    async def run(self, bridge: Bridge) -> str:
        """Serve until it ends; says how: `stop` (the client hung up), `lost`, `refused` (it sent too much that was
        wrong), or `ended` (by us). The peer connection is closed then, whatever happened."""
        self._bridge = bridge
        if self._sent_away:
            bridge.hurry()
        self._seq = bridge.client_seq
        labels, self._early_labels = self._early_labels, []
        for label in labels:
            self.channel_opened(label)
        while self._early_audio:
            self._pass_on(self._early_audio.popleft())
        try:
            await self._over.wait()
            if self._fault is not None:
                raise self._fault
            if self._outcome in ("ended", "refused") and self._channels:
                await asyncio.sleep(LAST_WORDS_S)
            return self._outcome
        finally:
            await self.close()
            self._summarise(bridge)

    async def close(self) -> None:
        """From any state; again does nothing. What the caller heard is known still; the session may be forgotten."""
        self._end("ended")
        self._channels.clear()
        self._stop_looking()
        self._bridge = None
        self.on_connected = _nothing
        await self._peer.close()

    def _end(self, outcome: str) -> None:
        """The first word counts."""
        self._outcome = self._outcome or outcome
        self._over.set()

    def _summarise(self, bridge: Bridge) -> None:
        stats = self.stats
        log.info(
            "session %s: a peer connection is over (%s): %s; of %d packets %d lost; of ours %d of %d",
            *(bridge.session, self._outcome, stats.candidate or "never connected"),
            *(stats.packets_received, stats.packets_lost, stats.remote_lost, stats.packets_sent),
        )
        if self._uplink_dropped_ms or self._unsent or self._patience.forgiven:
            log.info(
                "session %s: %d ms of audio came too fast, %d messages could not be sent, %d were wrong",
                *(bridge.session, self._uplink_dropped_ms, self._unsent, self._patience.forgiven),
            )

    @property
    def stats(self) -> PeerStats:
        return self._peer.stats

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        """Which (turn, ms) this RTP timestamp of ours belongs to; None if that is not known (any more)."""
        return self._peer.heard(rtp_timestamp)

    # --- trunkline.rtc.peer.Owner

    def connected(self) -> None:
        try:
            self.on_connected()
        except Exception as error:  # a fault of ours: `run` raises it
            self._fault = error
            self._end("lost")

    def audio(self, pcm: bytes) -> None:
        if self._over.is_set():
            return  # another link has the caller's word
        if self._bridge is not None:
            self._pass_on(pcm)
            return
        self._early_audio.append(pcm)
        self._early_bytes += len(pcm)
        while self._early_bytes > bytes_in(EARLY_AUDIO_MS, self._rate_hz):
            self._early_bytes -= len(self._early_audio.popleft())

    def _pass_on(self, pcm: bytes) -> None:
        """To the bridge, as fast as somebody can speak."""
        assert self._bridge is not None
        length_ms = duration_ms(len(pcm), self._rate_hz)
        if self._uplink_pace.fits(length_ms / 1000, time.monotonic()):
            self._bridge.audio(pcm)
        else:
            self._uplink_dropped_ms += length_ms

    def channel_opened(self, label: str) -> None:
        if self._bridge is None:
            self._early_labels.append(label)
            return
        language = language_of(label, self._bridge.session)
        if language is None:
            log.info("session %s: a channel %.60r, which nobody reads", self._bridge.session, label)
            return
        self._channels[label] = language
        self._send(label, language.begin(self._rate_hz))
        early, self._early = self._early or (), None
        for event in early:
            self._send(label, language.tell(*event))
        if self._playing:
            self._send(label, language.playing(self._playing[0].turn))
        if self._sent_away:
            self._send(label, self._restarting(language))

    def channel_closed(self, label: str) -> None:
        """The call goes on: who wants to hang up says so."""
        if self._channels.pop(label, None) is not None and self._bridge is not None:
            log.info("session %s: its channel %s is closed", self._bridge.session, label)
        if label in self._early_labels:
            self._early_labels.remove(label)

    def message(self, label: str, data: str) -> None:
        language = self._channels.get(label)
        if language is None or self._over.is_set():
            return
        try:
            self._take(label, language, data)
        except ClientError as error:
            self._wrong(label, language, error)
        except Exception as error:  # a fault of ours: `run` raises it
            self._fault = error
            self._end("lost")

    def gone(self, why: Gone) -> None:
        hung_up = why is Gone.CLOSED and not self._sent_away  # who is sent away lets go of us
        self._end("stop" if hung_up else "lost")

    # --- what the client says

    def _take(self, label: str, language: Language, data: str) -> None:
        if self._message_pace.add(1, time.monotonic()) > 0:
            raise _too_fast()
        messages, replies = language.take(data)
        self._send(label, replies)
        for message in messages:
            if self._message_pace.add(weight(message) - 1, time.monotonic()) > 0:
                raise _too_fast()
            self._do(message)

    def _do(self, message: ClientMessage | PlayedAt) -> None:
        assert self._bridge is not None
        match message:
            case Stop():
                self._end("stop")
            case PlayedAt():
                self._client_says = True
                heard = self._peer.heard(message.rtp_timestamp)
                if heard is not None:
                    self.said = heard
                    self._bridge.played(*heard)
            case _:
                self._bridge.take(message)

    def _wrong(self, label: str, language: Language, error: ClientError) -> None:
        try:
            self._patience.forgive(error)
        except ClientError as fatal:
            self._send(label, language.wrong(self._seq, fatal))
            self._end("refused")
        else:
            self._send(label, language.wrong(self._seq, error))

    # --- adapters.link.Link

    def play(self, turn: int, offset_ms: int, pcm: bytes, sentence_end: bool) -> None:
        self._give(_Sent(turn, offset_ms, pcm))
        for label, language in self._channels.items():
            self._send(label, language.playing(turn))

    def _give(self, piece: _Sent) -> None:
        self._playing.append(piece)
        self._peer.play(*piece)
        if self._looking is None and not self._over.is_set():
            self._look_again()

    def event(self, seq: int, name: str, data: dict[str, Any]) -> None:
        if self._over.is_set():
            return  # `closing` was the last word
        self._seq = seq
        if name == "resume":
            self._peer.resume()
        if self._early is not None:
            self._early.append((seq, name, data))
        for label, language in self._channels.items():
            self._send(label, language.tell(seq, name, data))

    def clear(self, turn: int) -> None:
        self._forget_sent()
        later = [piece for piece in self._playing if piece.turn > turn]
        self._playing.clear()
        self._peer.clear()
        self._peer.resume()
        for piece in later:
            self._give(self._unsent_part(piece))

    def pause(self, turn: int) -> bool:
        self._peer.hold()
        return True

    def end(self, reason: str) -> None:
        self._tell_all("closing", {"reason": reason})
        self._end("ended")

    def replaced(self) -> None:
        """The session goes on by another link. Who still listens here, unasked, must not try to come back to it."""
        self._playing.clear()
        self._peer.clear()
        self._stop_looking()
        if not self._sent_away:
            self._tell_all("closing", {"reason": "resumed_elsewhere"})
        self._end("ended")

    def send_away(self) -> None:
        """This gateway is going: tell the client to come back to another. Until it is there, it is served here; what
        waited here then would be lost."""
        self._sent_away = True
        if self._bridge is not None:
            self._bridge.hurry()
        for label, language in self._channels.items():
            self._send(label, self._restarting(language))

    def _restarting(self, language: Language) -> list[str]:
        return language.tell(self._seq, "closing", {"reason": "restarting"})

    # --- what was heard

    def _look_again(self) -> None:
        self._looking = asyncio.get_running_loop().call_later(LOOK_S, self._look)

    def _stop_looking(self) -> None:
        if self._looking is not None:
            self._looking.cancel()
            self._looking = None

    def _look(self) -> None:
        """Tell the bridge what was heard, as far as it can be told from what was sent."""
        self._looking = None
        assert self._bridge is not None
        now_s, sent = time.monotonic(), self._peer.sent
        before, since_s = self._sent_before, self._sent_before_s
        if sent != before:
            self._sent_before, self._sent_before_s = sent, now_s
        settled = sent == before and now_s - since_s >= SETTLED_S
        if settled or not self._client_says:
            self._bridge.played(*before)
        self._forget_sent()
        if self._playing or not (settled or (sent == before and not self._client_says)):
            self._look_again()

    def _forget_sent(self) -> None:
        while self._playing and self._unsent_part(self._playing[0]).pcm == b"":
            self._playing.popleft()

    def _unsent_part(self, piece: _Sent) -> _Sent:
        """What of this piece has not left yet."""
        turn, ms = self._peer.sent
        if piece.turn != turn or ms <= piece.offset_ms:
            return piece._replace(pcm=b"") if piece.turn < turn else piece
        return piece._replace(offset_ms=ms, pcm=piece.pcm[bytes_in(ms - piece.offset_ms, self._rate_hz) :])

    # --- telling

    def _tell_all(self, name: str, data: dict[str, Any]) -> None:
        for label, language in self._channels.items():
            self._send(label, language.tell(self._seq, name, data))

    def _send(self, label: str, texts: Sequence[str]) -> None:
        for text in texts:
            if not self._peer.send(label, text):
                self._unsent += 1


def _nothing() -> None:
    pass


def _too_fast() -> ClientError:
    hint = f"at most {MESSAGES_PER_S} messages a second; long ones count as several"
    return ClientError("too_fast", "too many messages", hint, fatal=True)
