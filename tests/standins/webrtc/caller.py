"""A caller of our gateway: its HTTP, one line at a time, what it heard and what it was told."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from tests.standins import tones
from tests.standins.twilio.watch import Watch

from .arrivals import Packet
from .hearing import Hearing, words_in
from .line import Line
from .network import LOOPBACK, Weather
from .signalling import Bridged, Signalling, split_candidates
from .track import RATE_HZ

PATIENCE_S = 15.0
LISTEN_S = 0.1
REPORT_S = 0.2
"""How often it says what it has heard, while it hears something."""


class WebRtcCaller:
    """`async with WebRtcCaller(origin, tenant="acme") as caller:` connects, and closes at the end with a goodbye.

    `label` is the data channel's, and so chooses the language: with "trunkline" what is heard is reported back
    (`reports`). With `trickle` the offer has no candidates; they come by PATCH. `each_packet` sees what arrives as it
    arrives; without `keep_audio` nothing else does. `weather` befalls what is sent.
    """

    def __init__(
        self,
        origin: str,
        *,
        tenant: str | None = None,
        conversation_id: str | None = None,
        voice: str | None = None,
        label: str = "trunkline",
        trickle: bool = False,
        reports: bool = True,
        keep_audio: bool = True,
        each_packet: Callable[[Packet], None] = lambda _: None,
        weather: Weather | None = None,
        addresses: Sequence[str] = LOOPBACK,
        headers: Mapping[str, str] | None = None,
        stock: bool = False,
    ) -> None:
        self.hearings: list[Hearing] = []
        """One for each line so far, the newest last."""

        self.events: list[dict[str, Any]] = []
        """All messages of the data channel."""

        self.timings_ms: dict[str, float] = {}
        """How long the parts of the last connecting took: offer, bridge (the POST), connected; and in all."""

        self.watch = Watch(self._describe)
        self._origin, self._label, self._trickle, self._weather = origin, label, trickle, weather
        self._wanted = {"tenant": tenant, "conversation_id": conversation_id, "voice": voice}
        self._reports = reports and label == "trunkline"
        self._keep_audio, self._each_packet = keep_audio, each_packet
        self._addresses, self._headers, self._stock = addresses, headers or {}, stock
        self._line: Line | None = None
        self._bridged: Bridged | None = None
        self._reporting: asyncio.TimerHandle | None = None
        self._reported: int | None = None

    async def __aenter__(self) -> Self:
        await self.connect()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    # The call.

    async def connect(self, resume: str | None = None) -> None:
        """Call, or come back with another caller's token.

        httpx.HTTPStatusError if the gateway refuses, ConnectionError or TimeoutError if media find no way.
        """
        await self._connect({**self._wanted, "resume": resume})

    async def resume(self, origin: str | None = None) -> None:
        """Come back, to another gateway if named; the old line is closed when the new one is up."""
        self._origin = origin or self._origin
        old, heard = self.line, self.hearings[-1]
        received = {"seq": max((event.get("seq", 0) for event in self.events), default=0)}
        if heard.last_timestamp is not None:
            received["rtp_timestamp"] = heard.last_timestamp
        await self._connect({**self._wanted, "resume": self.bridged.resume, "received": received})
        self.line.say(old.unsaid())
        await old.close()

    async def drop(self) -> None:
        """Vanish without a goodbye."""
        self._stop_reports()
        await self.line.vanish()

    async def hang_up(self) -> None:
        """By DELETE."""
        async with Signalling(self._origin, self._headers) as signalling:
            await signalling.hang_up(self.bridged)
        await self.close()

    async def close(self) -> None:
        """With close_notify, which means that the call is over."""
        self._stop_reports()
        if self._line is not None:
            await self._line.close()
        self.watch.close(lambda: ConnectionError("this call is over"))

    @property
    def line(self) -> Line:
        assert self._line is not None, "not connected"
        return self._line

    @property
    def bridged(self) -> Bridged:
        """What the gateway said last: session_id, conversation_id, resume, rate_hz."""
        assert self._bridged is not None, "not connected"
        return self._bridged

    # What is said.

    async def speak(self, pcm: bytes) -> None:
        """Say s16le mono at 48 kHz in real time, and wait until it has left."""
        self.line.say(pcm)
        await self.until(lambda _: not self.line.to_say, PATIENCE_S + len(pcm) / 2 / RATE_HZ)

    async def say(self, text: str) -> None:
        """Say words of tests.standins.tones."""
        await self.speak(tones.speak(text, RATE_HZ))

    def send(self, message: Mapping[str, Any]) -> None:
        """A message over the data channel."""
        self.line.send(json.dumps(message))

    # What is heard.

    @property
    def pcm(self) -> bytes:
        """All that was heard, s16le mono at 48 kHz, line after line."""
        return b"".join(hearing.pcm() for hearing in self.hearings)

    @property
    def heard(self) -> str:
        """The words in it."""
        return words_in(self.pcm)

    def told(self, kind: str) -> list[dict[str, Any]]:
        """The messages of this type."""
        return [event for event in self.events if event.get("type") == kind]

    async def until(self, predicate: Callable[[WebRtcCaller], object], within_s: float = PATIENCE_S) -> None:
        """Wait until it is true; asked again whenever a packet or a message came. TimeoutError says what is."""
        await self.watch.until(lambda: predicate(self), within_s)

    async def until_told(self, kind: str, within_s: float = PATIENCE_S) -> dict[str, Any]:
        """The first message of this type."""
        await self.until(lambda caller: caller.told(kind), within_s)
        return self.told(kind)[0]

    async def until_heard(self, words: str, within_s: float = PATIENCE_S) -> None:
        """Wait until these words were heard, somewhere. It listens every 100 ms, and in a thread: half a minute takes
        130 ms, and who else is in this process (a model that speaks in real time) cannot stand still so long."""
        try:
            async with asyncio.timeout(within_s):
                while f" {words} " not in f" {await asyncio.to_thread(words_in, self.pcm)} ":  # noqa: ASYNC110 - see above
                    await asyncio.sleep(LISTEN_S)
        except TimeoutError:
            raise TimeoutError(f"{words!r} not heard within {within_s} s: {self._describe()}") from None

    # The rest.

    async def _connect(self, wanted: Mapping[str, Any]) -> None:
        began_s = time.monotonic()
        hearing = Hearing()
        line = Line(
            self._label,
            heard=lambda packet: self._packet(hearing, packet),
            told=self._told,
            weather=self._weather,
            addresses=self._addresses,
            stock=self._stock,
            changed=self.watch.tell,
        )
        try:
            offer = await line.offer()
            self._took("offer", began_s)
            bridged = await self._signal(line, offer, wanted)
            await line.connected()
        except BaseException:
            await line.close()
            raise
        self._took("connected", began_s)
        self._line, self._bridged = line, bridged
        self.hearings.append(hearing)
        self._stop_reports()
        if self._reports:
            self._report()

    async def _signal(self, line: Line, offer: str, wanted: Mapping[str, Any]) -> Bridged:
        asked_s = time.monotonic()
        named = {name: value for name, value in wanted.items() if value is not None}
        bare, candidates = split_candidates(offer)
        async with Signalling(self._origin, self._headers) as signalling:
            bridged = await signalling.bridge(bare if self._trickle else offer, named)
            self._took("bridge", asked_s)
            await line.accept(bridged.answer)
            if self._trickle:
                await signalling.trickle(bridged, [*candidates, ""])
        return bridged

    def _took(self, part: str, since_s: float) -> None:
        self.timings_ms[part] = round((time.monotonic() - since_s) * 1000, 1)

    def _packet(self, hearing: Hearing, packet: Packet) -> None:
        self._each_packet(packet)
        if self._keep_audio:
            hearing.add(packet)

    def _told(self, message: str) -> None:
        self.events.append(json.loads(message))

    def _report(self) -> None:
        """Say what is being heard, as a page does with getSynchronizationSources()[0].rtpTimestamp."""
        latest = self.hearings[-1].last_timestamp
        if latest is not None and latest != self._reported and self.line.channel.readyState == "open":
            self.send({"type": "played", "rtp_timestamp": latest})
            self._reported = latest
        self._reporting = asyncio.get_running_loop().call_later(REPORT_S, self._report)

    def _stop_reports(self) -> None:
        if self._reporting is not None:
            self._reporting.cancel()
            self._reporting = None

    def _describe(self) -> str:
        line = self._line.describe() if self._line else "not connected"
        return f"{line}, heard {self.heard!r}, told {[event.get('type') for event in self.events[-20:]]}"
