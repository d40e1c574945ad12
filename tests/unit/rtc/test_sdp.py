"""Offers and answers of others, read; ours, written, and read by others; and what is wrong with SDP, said."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from aioice import Candidate
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.rtc.descriptions import CHROME, CHROME_LISTENING, CHROME_VIDEO_FIRST, FIREFOX, OPENAI_ANSWER, SAFARI
from trunkline.errors import ClientError
from trunkline.rtc.sdp import MAX_BYTES, Local, Remote, read_answer, read_offer, write_answer, write_offer

OFFERS = {
    "chrome": CHROME,
    "chrome, listening": CHROME_LISTENING,
    "chrome, video first": CHROME_VIDEO_FIRST,
    "firefox": FIREFOX,
    "safari": SAFARI,
}
LOCAL = Local(
    username="ours",
    password="0123456789abcdefghijkl",
    fingerprint=":".join(["AB"] * 32),
    setup="active",
    candidates=(Candidate("1", 1, "udp", 2130706431, "203.0.113.1", 40000, "host"),),
    ssrc=1234,
    cname="trunkline",
)


def offers() -> pytest.MarkDecorator:
    return pytest.mark.parametrize("offer", OFFERS.values(), ids=OFFERS.keys())


@pytest.mark.parametrize(
    ("offer", "opus", "audio", "data", "candidates", "bundle"),
    [
        (CHROME, 111, 0, 1, 2, ("0", "1")),
        (CHROME_LISTENING, 111, 0, 1, 2, ("0", "1")),
        (CHROME_VIDEO_FIRST, 111, 1, 3, 2, ("0", "1", "2", "3")),
        (FIREFOX, 109, 0, 1, 4, ("0", "1")),
        (SAFARI, 96, 0, 1, 1, ("audio", "data")),
    ],
    ids=OFFERS.keys(),
)
def test_a_browsers_offer(
    offer: str, opus: int, audio: int, data: int, candidates: int, bundle: tuple[str, ...]
) -> None:
    remote = read_offer(offer)
    assert (remote.opus, remote.audio, remote.data, remote.bundle) == (opus, audio, data, bundle)
    assert len(remote.candidates) == candidates
    assert remote.trickle
    assert remote.receives
    assert remote.sends == (offer is not CHROME_LISTENING)
    assert remote.dtls.role == "auto"
    assert [fingerprint.algorithm for fingerprint in remote.dtls.fingerprints] == ["sha-256"]
    assert remote.sctp_port == 5000
    assert remote.max_message_bytes == (1073741823 if offer is FIREFOX else 262144)


def test_openais_answer() -> None:
    remote = read_answer(OPENAI_ANSWER)
    assert (remote.dtls.role, remote.opus, remote.audio, remote.data) == ("client", 111, 0, 1)
    assert remote.ice.usernameFragment == "ptKBcTdTXTzThIXM"
    assert len(remote.candidates) == 3


@offers()
def test_our_answer_repeats_every_section_in_its_place(offer: str) -> None:
    """RFC 9429 section 5.3.1; by aiortc's reading of it."""
    theirs = SessionDescription.parse(offer)
    ours = SessionDescription.parse(write_answer(read_offer(offer), LOCAL))
    assert [media.kind for media in ours.media] == [media.kind for media in theirs.media]
    assert [media.rtp.muxId for media in ours.media] == [media.rtp.muxId for media in theirs.media]
    used = [media for media in ours.media if media.port]
    assert [media.kind for media in used] == ["audio", "application"]
    assert [str(group) for group in ours.group] == [f"BUNDLE {' '.join(media.rtp.muxId for media in used)}"]
    assert [len(media.ice_candidates) for media in used] == [1, 1]
    audio = used[0]
    assert [(codec.name, codec.clockRate, codec.channels) for codec in audio.rtp.codecs] == [("opus", 48000, 2)]
    assert audio.rtp.codecs[0].parameters == {"minptime": 10, "useinbandfec": 1}
    assert audio.rtcp_mux
    assert audio.dtls is not None
    assert audio.dtls.role == "client"
    assert [track.ssrc for track in audio.ssrc] == [1234]


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [("sendrecv", "sendrecv"), ("sendonly", "recvonly"), ("recvonly", "sendonly"), ("inactive", "inactive")],
)
def test_direction(theirs: str, ours: str) -> None:
    remote = read_offer(CHROME.replace("a=sendrecv", f"a={theirs}"))
    answer = write_answer(remote, LOCAL)
    assert f"a={ours}\r\n" in answer
    assert ("a=msid:" in answer) == ours.startswith("send")


def test_the_transport_is_that_of_the_first_section_of_the_group() -> None:
    """RFC 9143 section 7.3.1: not of the audio, if the group begins with the data."""
    offer = CHROME.replace("BUNDLE 0 1", "BUNDLE 1 0")
    head, data = offer.split("m=application")
    remote = read_offer(head + "m=application" + data.replace("a=ice-ufrag:3ibM", "a=ice-ufrag:data"))
    assert remote.ice.usernameFragment == "data"
    assert [candidate.port for candidate in remote.candidates] == [39534, 47595]
    answer = SessionDescription.parse(write_answer(remote, LOCAL))
    assert [str(group) for group in answer.group] == ["BUNDLE 1 0"]


def test_audio_alone_needs_no_group() -> None:
    offer = CHROME[: CHROME.index("m=application")].replace("a=group:BUNDLE 0 1\n", "")
    remote = read_offer(offer)
    assert remote.data is None
    answer = SessionDescription.parse(write_answer(remote, LOCAL))
    assert (len(answer.media), answer.group, len(answer.media[0].ice_candidates)) == (1, [], 1)


def test_an_ice_lite_peer() -> None:
    assert read_offer(CHROME.replace("s=-", "s=-\na=ice-lite")).ice.iceLite
    assert not read_offer(CHROME).ice.iceLite


async def test_aiortc_takes_our_offer_and_we_its_answer() -> None:
    connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        await connection.setRemoteDescription(RTCSessionDescription(write_offer(OURS), "offer"))
        await connection.setLocalDescription(await connection.createAnswer())
        remote = read_answer(connection.localDescription.sdp)
    finally:
        await connection.close()
    assert (remote.opus, remote.dtls.role, remote.audio, remote.data) == (111, "client", 0, 1)
    assert remote.bundle == ("0", "1")


OURS = Local(
    username=LOCAL.username, password=LOCAL.password, fingerprint=LOCAL.fingerprint, setup="actpass",
    candidates=LOCAL.candidates, ssrc=LOCAL.ssrc, cname=LOCAL.cname,
)  # fmt: skip


def without(line: str) -> Callable[[str], str]:
    return lambda sdp: "\n".join(kept for kept in sdp.split("\n") if not kept.startswith(line))


def instead(old: str, new: str) -> Callable[[str], str]:
    return lambda sdp: sdp.replace(old, new)


@pytest.mark.parametrize(
    ("spoil", "code", "says"),
    [
        (lambda sdp: "", "bad_sdp", "does not begin with v=0"),
        (lambda sdp: '{"type": "offer"}', "bad_sdp", "does not begin with v=0"),
        (lambda sdp: sdp + "a=x:" + "y" * MAX_BYTES, "bad_sdp", "more than 65536 bytes"),
        (lambda sdp: sdp + "a=mid:0\n" * 1000, "bad_sdp", "more than 1000 lines"),
        (lambda sdp: sdp + "m=audio 9 RTP/AVP 0\n" * 16, "bad_sdp", "more than 16 m= sections"),
        (lambda sdp: sdp[: sdp.index("m=")], "no_audio", "no section at all"),
        (lambda sdp: "v=0\n" + sdp[sdp.index("m=application") :], "no_audio", "only application"),
        (instead("m=audio 9", "m=audio 0"), "no_audio", "no audio"),
        (instead("m=audio", "m=video"), "no_audio", "only application and video"),
        (instead("opus/48000/2", "speex/8000"), "no_opus", "speex"),
        (instead("SAVPF 111 63", "SAVPF 63"), "no_opus", "PCMU"),
        (instead("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "bad_sdp", "DTLS-SRTP"),
        (without("a=rtcp-mux"), "bad_sdp", "rtcp-mux"),
        (without("a=group"), "bad_sdp", "BUNDLE"),
        (instead("BUNDLE 0 1", "BUNDLE 0"), "bad_sdp", "BUNDLE"),
        (without("a=fingerprint"), "bad_sdp", "a=fingerprint"),
        (instead("sha-256", "md5"), "bad_sdp", "a=fingerprint"),
        (instead("a=fingerprint:sha-256 ", "a=fingerprint:sha-256 XY:"), "bad_sdp", "no SHA-256: 'XY:"),
        (instead("a=fingerprint:sha-256", "a=fingerprint:sha-512"), "bad_sdp", "no SHA-512"),
        (instead("a=setup:", "a=fingerprint:SHA-384 garbage\na=setup:"), "bad_sdp", "no SHA-384: 'garbage'"),
        (instead("a=sctp-port:5000", "a=sctp-port:70000"), "bad_sdp", "a=sctp-port:70000"),
        (instead("a=sctp-port:5000", "a=sctp-port:-1"), "bad_sdp", "a=sctp-port:-1"),
        (instead("a=max-message-size:262144", "a=max-message-size:-1"), "bad_sdp", "a=max-message-size:-1"),
        (without("a=ice-ufrag"), "bad_sdp", "a=ice-ufrag"),
        (without("a=ice-pwd"), "bad_sdp", "a=ice-pwd"),
        (instead("a=ice-pwd:", "a=ice-pwd:short "), "bad_sdp", "a=ice-pwd"),
        (without("a=setup"), "bad_sdp", "a=setup"),
        (instead("a=setup:actpass", "a=setup:holdconn"), "bad_sdp", "'a=setup:holdconn'"),
        (instead("m=audio 9 ", "m=audio nine "), "bad_sdp", "'m=audio nine"),
        (instead("a=rtpmap:111 opus/48000/2", "a=rtpmap:111 opus"), "bad_sdp", "'a=rtpmap:111 opus'"),
        (instead("a=rtpmap:111 opus/48000/2", "a=rtpmap"), "bad_sdp", "'a=rtpmap'"),
        (instead("SAVPF 111", "SAVPF 72"), "bad_sdp", "'m=audio 9 UDP/TLS/RTP/SAVPF 72"),
        (instead("a=mid:0", "a=mid:("), "bad_sdp", "is no mid"),
        (instead("a=mid:0", "a=mid:\x00"), "bad_sdp", r"'a=mid:\x00'"),
        (instead("opus/48000/2", "\x1b[2Jopus/48000/2"), "bad_sdp", r"\x1b[2Jopus"),
        (lambda sdp: sdp + "s=\ud800", "bad_sdp", r"'s=\ud800'"),
        (lambda sdp: sdp.replace("opus/48000/2", "x" * 5000 + "/8000"), "no_opus", "xxx"),
        (lambda sdp: "v=0\n" + sdp[sdp.index("m=application") :] + f"m={'x' * 5000} 9 RTP/AVP 0", "no_audio", "xxx"),
        (instead("a=mid:0", "a=mid:1"), "bad_sdp", "'1' is no mid, or that of two sections"),
        (instead("a=candidate:1028996792 1", "a=candidate:1028996792 one"), "bad_candidate", "1028996792"),
    ],
)
def test_what_is_wrong_is_said(spoil: Callable[[str], str], code: str, says: str) -> None:
    with pytest.raises(ClientError) as refusal:
        read_offer(spoil(CHROME))
    assert refusal.value.code == code
    assert says in str(refusal.value)
    assert refusal.value.hint
    assert len(str(refusal.value)) < 300


@pytest.mark.parametrize(
    "spoil",
    [
        lambda sdp: sdp + "a=x:\ud800",  # what JSON can say and UTF-8 cannot
        lambda sdp: sdp.replace(
            sha256(sdp), sha256(sdp).lower()
        ),  # RFC 8122 section 5 wants upper case; not all write it
        instead("a=setup:", "a=fingerprint:sha-1 garbage\na=setup:"),  # nobody looks at it
    ],
)
def test_what_does_no_harm_is_let_be(spoil: Callable[[str], str]) -> None:
    assert read_offer(spoil(CHROME)).opus == 111


def sha256(sdp: str) -> str:
    return next(line for line in sdp.splitlines() if line.startswith("a=fingerprint:sha-256")).split()[1]


def test_an_answer_must_choose_its_side_of_dtls() -> None:
    with pytest.raises(ClientError, match="a=setup is missing, or is not active or passive"):
        read_answer(OPENAI_ANSWER.replace("a=setup:active", "a=setup:actpass"))


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda sdp: sdp + "a=candidate:1 1 udp 1 203.0.113.7 5 typ host\n" * 10_000, "too_many_candidates"),
        (lambda sdp: sdp + "a=x\n" * 250_000, "bad_sdp"),
        (lambda sdp: sdp + "a=ssrc:1 a:b\n" * 4_500, None),
        (lambda sdp: sdp + "a=rtcp-fb:* a\n" * 4_000, None),
        (lambda sdp: sdp + "a=rtpmap:1 a/1\n" * 2_000 + "a=rtcp-fb:* a\n" * 2_000, "bad_sdp"),
        (lambda sdp: sdp + "a=fmtp:111 a=b\n" * 2_000, "bad_sdp"),
        (lambda sdp: sdp + "a=mid:1" + "\x0ba=rtpmap:1 a/1\x0ba=rtcp-fb:* a" * 1_800, "bad_sdp"),
    ],
)
def test_much_of_anything_takes_no_time(spoil: Callable[[str], str], code: str | None) -> None:
    """Some of these take aiortc's parser a second, and half a gigabyte."""
    offer = spoil(CHROME)
    began = time.process_time()
    outcome = outcome_of(offer)
    took = time.process_time() - began
    assert outcome.code == code if isinstance(outcome, ClientError) else code is None
    assert took < 0.2, "CPU seconds; measured: 0.002"


def outcome_of(offer: str) -> Remote | ClientError:
    try:
        return read_offer(offer)
    except ClientError as refusal:
        return refusal


LINES = [line for offer in OFFERS.values() for line in offer.split("\n")]


@given(st.data())
def test_mangled_descriptions_are_read_or_refused_and_answered(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from(list(OFFERS.values()))).split("\n")
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "insert", "cut", "replace", "character"])):
            case "drop":
                lines[at] = ""
            case "insert":
                lines.insert(at, data.draw(st.sampled_from(LINES)))
            case "cut":
                lines[at] = lines[at][: data.draw(st.integers(0, 40))]
            case "replace":
                lines[at] = data.draw(st.sampled_from(LINES))[:2] + data.draw(st.text(max_size=30))
            case _:
                lines[at] += data.draw(st.characters())
    outcome = outcome_of("\n".join(lines))
    if isinstance(outcome, Remote):
        answer = write_answer(outcome, LOCAL)
        assert len(SessionDescription.parse(answer).media) == len(outcome.sections)


@given(st.text(max_size=300))
def test_anything_else_is_refused(text: str) -> None:
    with pytest.raises(ClientError):
        read_offer("v=0\r\n" + text)
