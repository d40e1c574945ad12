"""One WebRTC call: from an offer or answer to connected, to gone, with everything freed.

aiortc's ORTC parts do ICE, DTLS and SCTP, each with tasks of its own; `Peer` has one task, in which they are started,
and ended in every case. Audio takes no task at all (`media.py`).
"""

from __future__ import annotations

import asyncio
import enum
import secrets
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from aioice import Candidate
from aiortc import RTCCertificate, RTCDtlsTransport, RTCIceGatherer, RTCIceTransport

from trunkline.errors import ClientError, NoPortLeft
from trunkline.rtc import sdp
from trunkline.rtc.candidates import parse_candidate
from trunkline.rtc.channels import Channels
from trunkline.rtc.ice import IceConnection, Network
from trunkline.rtc.media import Media

CONNECT_S = 10.0


class Gone(enum.Enum):
    """Why a call is over."""

    CLOSED = "closed"
    """The other side said so (DTLS close_notify)."""
    LOST = "lost"
    """It fell silent (`pulse.py`)."""
    FAILED = "failed"
    """It was never connected: no way through within 10 s, or DTLS failed."""


class Owner(Protocol):
    """Who has the call. All of these are called on the loop; none may block."""

    def connected(self) -> None:
        """ICE and DTLS are done, audio may flow."""

    def audio(self, pcm: bytes) -> None:
        """What the other side spoke next: s16le mono at the peer's rate."""

    def channel_opened(self, label: str) -> None: ...

    def channel_closed(self, label: str) -> None:
        """By the other side, or because SCTP is over. One with the same label may be opened later."""

    def message(self, label: str, data: str) -> None:
        """A text message of a data channel."""

    def gone(self, why: Gone) -> None:
        """Once, unless `close` was called before. The peer frees everything by itself."""


@dataclass(frozen=True, slots=True)
class PeerStats:
    """Numbers of one call so far. Milliseconds are of audio, but for `round_trip_ms`."""

    packets_received: int
    packets_lost: int
    concealed_ms: int
    discarded_late: int
    jitter_ms: float
    buffer_ms: float
    packets_sent: int
    remote_lost: int
    """Of ours, by the other side's last report."""
    round_trip_ms: float | None
    """By RTCP, or by ICE's checks as long as no report came."""
    candidate: str
    """Where the other side is, e.g. `host udp 10.0.0.2:40003`."""
    strangers_dropped: int
    malformed_dropped: int


class Peer:
    """One side of a call. `answer` an offer, or `offer` and `accept`; `close` it in any case."""

    def __init__(self, owner: Owner, rate_hz: int, network: Network) -> None:
        self._owner = owner
        self._network = network
        self._media = Media(rate_hz, self._heard)
        self._over: asyncio.Future[Gone] = asyncio.get_running_loop().create_future()
        self._label = ""
        self._used = False
        self._ending = False
        self._released = False
        self._task: asyncio.Task[None] | None = None
        self._ice: IceConnection | None = None
        self._transport: RTCIceTransport | None = None
        self._dtls: RTCDtlsTransport | None = None
        self._channels: Channels | None = None
        self._offer: sdp.Local | None = None
        self._last_stats: PeerStats | None = None

    async def answer(self, offer: str) -> str:
        """The SDP answer, with our candidates; connecting goes on by itself.

        Raises `ClientError` saying what is wrong with the offer, or `NoPortLeft`; then nothing is left behind.
        """
        self._use()
        remote = sdp.read_offer(offer)
        setup: sdp.Setup = "passive" if remote.dtls.role == "client" else "active"
        local = await self._gather(setup, controlling=remote.ice.iceLite)
        try:
            text = sdp.write_answer(remote, local)
            self._start(remote, "server" if setup == "passive" else "client")
        except BaseException:
            await self._release()
            raise
        return text

    async def offer(self, label: str = "oai-events") -> str:
        """The SDP of a call from us: audio both ways, and one data channel. Then `accept` what is answered."""
        self._use()
        self._label = label
        self._offer = await self._gather("actpass", controlling=True)
        return sdp.write_offer(self._offer)

    async def accept(self, answer: str) -> None:
        """Raises `ClientError` saying what is wrong with the answer; then nothing is left behind."""
        if self._offer is None or self._task is not None or self._ending:
            raise ClientError("unexpected_answer", "No offer waits for an answer", "Answer an offer once.")
        try:
            remote = sdp.read_answer(answer)
            if remote.opus != sdp.OPUS:
                raise ClientError("bad_sdp", f"The answer's Opus is {remote.opus}, not offered", f"Keep {sdp.OPUS}.")
            if remote.data is None:
                raise ClientError("bad_sdp", "The answer has no data channel", "Answer both sections of the offer.")
            self._start(remote, "server" if remote.dtls.role == "client" else "client")
        except BaseException:
            await self.close()
            raise

    async def add_candidates(self, candidates: Sequence[str]) -> None:
        """Candidates of the other side that came later ("trickle"); an empty string says that these are all.

        Raises `ClientError` if one is malformed, or if there are too many. Those that cannot be used, or must not, are
        counted and ignored.
        """
        parsed = [parse_candidate(candidate) for candidate in candidates if candidate.strip()]
        if self._ice is not None and not self._ending:
            await self._ice.add(self._ice.admit(parsed))

    def play(self, turn: int, offset_ms: int, pcm: bytes) -> None:
        """Queues s16le mono audio, to be paced out in 20 ms packets; (turn, offset_ms) labels its first sample."""
        self._media.play(turn, offset_ms, pcm)

    def hold(self) -> None:
        """Keeps what is queued, and sends none of it."""
        self._media.hold()

    def resume(self) -> None:
        self._media.resume()

    def clear(self) -> None:
        """Drops what is queued."""
        self._media.clear()

    @property
    def sent(self) -> tuple[int, int]:
        """(turn, ms) that left for the wire."""
        return self._media.sent

    def heard(self, rtp_timestamp: int) -> tuple[int, int] | None:
        """Which (turn, ms) an RTP timestamp of ours belongs to; browsers tell the one that they play."""
        return self._media.heard(rtp_timestamp)

    def send(self, label: str, text: str) -> bool:
        """Sends text on a data channel. False: it is not open, or more than 1 MiB waits there."""
        return self._channels is not None and self._channels.send(label, text)

    @property
    def stats(self) -> PeerStats:
        """Still those of the end when the call is over."""
        if self._last_stats is not None:
            return self._last_stats
        media, ice, channels = self._media.stats, self._ice, self._channels
        received = media.received
        pair = ice.selected if ice is not None else None
        by_checks = ice.round_trip_s * 1000 if ice is not None and ice.round_trip_s is not None else None
        remote = pair.remote_candidate if pair is not None else None
        of_ice = ice.malformed if ice is not None else 0
        of_channels = channels.association.malformed if channels is not None else 0
        return PeerStats(
            packets_received=received.packets_received,
            packets_lost=received.packets_lost,
            concealed_ms=received.concealed_ms,
            discarded_late=received.discarded_late,
            jitter_ms=received.jitter_ms,
            buffer_ms=received.buffer_ms,
            packets_sent=media.packets_sent,
            remote_lost=media.remote_lost,
            round_trip_ms=media.round_trip_ms if media.round_trip_ms is not None else by_checks,
            candidate=f"{remote.type} {remote.transport} {remote.host}:{remote.port}" if remote is not None else "",
            strangers_dropped=ice.strangers if ice is not None else 0,
            malformed_dropped=media.malformed + of_ice + of_channels,
        )

    async def close(self) -> None:
        """Says good-bye and frees everything, from any state. `Owner.gone` is not called any more."""
        if not self._ending:
            self._ending = True
            if self._task is not None:
                self._task.cancel()
        if self._task is not None:
            await asyncio.wait({self._task})
        await self._release()  # also if the task was cancelled before its first step

    def _use(self) -> None:
        if self._used:
            raise RuntimeError("a Peer is one call")
        self._used = True

    async def _gather(self, setup: sdp.Setup, *, controlling: bool) -> sdp.Local:
        ice = IceConnection(self._network, controlling=controlling, media=self._datagram, lost=self._lost)
        gatherer = RTCIceGatherer(iceServers=[])
        gatherer._connection = ice
        self._ice = ice
        self._transport = RTCIceTransport(gatherer)
        certificate = RTCCertificate.generateCertificate()
        self._dtls = RTCDtlsTransport(self._transport, [certificate])
        try:
            await gatherer.gather()
            if self._ending:
                raise ClientError("closed", "The call ended before it began", "Call again.")
        except BaseException as error:
            await self._release()
            if isinstance(error, OSError):  # no open file is left to list this machine's addresses, or for the loop
                raise NoPortLeft(f"no socket can be had for media: {error}") from error
            raise
        fingerprints = {fingerprint.algorithm: fingerprint.value for fingerprint in certificate.getFingerprints()}
        return sdp.Local(
            username=ice.local_username,
            password=ice.local_password,
            fingerprint=fingerprints["sha-256"],
            setup=setup,
            candidates=tuple(ice.local_candidates),
            ssrc=self._media.ssrc,
            cname=self._media.cname,
            session=secrets.randbits(62),
        )

    def _start(self, remote: sdp.Remote, dtls_role: str) -> None:
        assert self._ice is not None
        assert self._dtls is not None
        candidates = self._ice.admit(list(remote.candidates))
        self._dtls._set_role(dtls_role)
        self._task = asyncio.create_task(self._run(remote, candidates), name="peer")

    async def _run(self, remote: sdp.Remote, candidates: list[Candidate]) -> None:
        try:
            if await self._connects(remote, candidates):
                self._owner.connected()  # in the same turn of the loop as the start of media: before any audio
                why = await self._over
            else:
                why = Gone.FAILED
            self._ending = True
            self._owner.gone(why)
        finally:
            self._ending = True
            await self._release()

    async def _connects(self, remote: sdp.Remote, candidates: list[Candidate]) -> bool:
        try:
            async with asyncio.timeout(CONNECT_S):
                return await self._connect(remote, candidates)
        except TimeoutError:
            return False
        except Exception as error:
            # What a peer's certificate makes of a DTLS library cannot be listed. The owner learns that it failed.
            loop = asyncio.get_running_loop()
            loop.call_exception_handler({"message": "A call failed to connect", "exception": error, "task": self._task})
            return False

    async def _connect(self, remote: sdp.Remote, candidates: list[Candidate]) -> bool:
        assert self._ice is not None
        assert self._transport is not None
        assert self._dtls is not None
        adding = asyncio.create_task(self._ice.add(candidates), name="remote candidates")
        try:
            await self._transport.start(remote.ice)
        finally:
            adding.cancel()  # a name that is still being looked up; a pair is chosen, or never will be
            await asyncio.wait({adding})
        if self._transport.state != "completed":
            return False
        await self._dtls.start(remote.dtls)
        if self._dtls.state != "connected":
            return False
        self._dtls.on("statechange", self._dtls_changed)
        if remote.data is not None:
            owner = self._owner
            self._channels = Channels(self._dtls, owner.channel_opened, owner.message, owner.channel_closed)
            if self._label:
                self._channels.open(self._label)
            await self._channels.start(remote.max_message_bytes, remote.sctp_port)
        self._media.start(
            self._dtls._rx_srtp, self._dtls._tx_srtp, self._ice.transmit, opus=remote.opus, may_speak=remote.receives
        )
        return True

    def _datagram(self, data: bytes) -> None:
        if self._media.take(data) and self._ice is not None:
            self._ice.pulse.heard(asyncio.get_running_loop().time())

    def _heard(self, pcm: bytes) -> None:
        if not self._ending:
            self._owner.audio(pcm)

    def _lost(self) -> None:
        self._end(Gone.LOST)

    def _dtls_changed(self) -> None:
        """Closed: by the other side, or because reading failed here, which is no reason to take it for a hang-up."""
        assert self._dtls is not None
        assert self._ice is not None
        if self._dtls.state == "closed":
            failed = isinstance(sys.exception(), Exception)
            self._end(Gone.LOST if failed or self._ice.broken else Gone.CLOSED)

    def _end(self, why: Gone) -> None:
        if not self._over.done():
            self._over.set_result(why)

    async def _release(self) -> None:
        if not self._released:
            self._released = True
            self._last_stats = self.stats
            await self._say_goodbye()
        if self._ice is not None:
            await self._ice.close()  # in any case: sockets may have been bound while the call was being closed

    async def _say_goodbye(self) -> None:
        """As far as it can still be said: RTCP BYE, SCTP ABORT, DTLS close_notify."""
        self._media.stop()
        if self._channels is not None:
            await self._channels.close()
        if self._dtls is not None:
            pump = self._dtls._task
            self._dtls.remove_all_listeners()
            await self._dtls.stop()
            if pump is not None:
                await asyncio.gather(pump, return_exceptions=True)  # aiortc has logged what it raised, if it did
        if self._transport is not None:
            await self._transport.stop()
