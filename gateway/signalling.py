"""What a browser says by HTTP to set up a WebRTC call: bodies to values, and back. Pure.

As JSON (docs/webrtc.md), or as WHIP has it (RFC 9725: `application/sdp`, and `application/trickle-ice-sdpfrag` of RFC
8840). What is wrong raises ClientError with a code, and what would be right.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from adapters.messages import name_of
from trunkline.errors import ClientError

JSON, SDP, FRAGMENT = "application/json", "application/sdp", "application/trickle-ice-sdpfrag"
MAX_SDP_BYTES = 64 * 1024
"""A browser's offer of one microphone and a data channel takes 4."""
MAX_BODY_BYTES = 80 * 1024
"""JSON writes each line's end with four bytes instead of two."""
MAX_CANDIDATES = 20
"""In one request."""
MAX_CANDIDATE = 512


@dataclass(frozen=True, slots=True)
class Wish:
    """What a call is asked for with."""

    offer: str
    tenant: str | None = None
    conversation_id: str | None = None
    voice: str | None = None
    resume: str | None = None
    """The token of the session that this one goes on with."""
    received_seq: int = 0
    """The last event that the client saw of it, and which of our RTP timestamps it was playing (None: it does not
    say)."""
    received_rtp: int | None = None


def parse_wish(body: bytes) -> Wish:
    """The JSON of a new call."""
    asked = _object(body)
    received = asked.get("received") or {}
    if not isinstance(received, dict):
        raise ClientError("bad_field", f"received is a {type(received).__name__}", '{"seq":88,"rtp_timestamp":960000}')
    return Wish(
        offer=_offer(asked.get("offer")),
        tenant=name_of(asked, "tenant"),
        conversation_id=name_of(asked, "conversation_id"),
        voice=name_of(asked, "voice"),
        resume=name_of(asked, "resume"),
        received_seq=_count(received, "seq") or 0,
        received_rtp=_count(received, "rtp_timestamp"),
    )


def wish_of(body: bytes, query: Mapping[str, str], resume: str | None) -> Wish:
    """A call asked for with nothing but an SDP offer; whatever else there is to say is in the query."""
    asked = {**query, "resume": resume or query.get("resume")}
    return Wish(
        offer=_offer(_text(body)),
        tenant=name_of(asked, "tenant"),
        conversation_id=name_of(asked, "conversation_id"),
        voice=name_of(asked, "voice"),
        resume=name_of(asked, "resume"),
    )


def parse_candidates(body: bytes) -> list[str]:
    """The JSON of more candidates: each a string, or what a browser makes of an RTCIceCandidate; "" or null is the
    last."""
    given = _object(body).get("candidates")
    hint = '{"candidates":["candidate:1 1 udp 2122260223 192.0.2.7 54321 typ host"]}'
    if not isinstance(given, list):
        raise ClientError("bad_field", f"candidates is a {type(given).__name__}", hint)
    return _checked([_candidate(each, hint) for each in given])


def candidates_of(fragment: bytes) -> list[str]:
    """The candidates of an SDP fragment; "" for its `a=end-of-candidates`."""
    lines = [line.strip() for line in _text(fragment).splitlines()]
    found = [line for line in lines if line.startswith("a=candidate:")]
    if "a=end-of-candidates" in lines:
        found.append("")
    if not found and not any(line.startswith("a=ice-ufrag:") for line in lines):
        raise ClientError("bad_sdp", "a fragment without candidates", "a=candidate: lines, as in RFC 8840")
    return _checked(found)


def _checked(candidates: list[str]) -> list[str]:
    if len(candidates) > MAX_CANDIDATES:
        raise ClientError("too_many_candidates", f"{len(candidates)} candidates", f"at most {MAX_CANDIDATES}")
    if any(len(candidate) > MAX_CANDIDATE for candidate in candidates):
        raise ClientError("bad_candidate", "a candidate as long as none is", f"at most {MAX_CANDIDATE} characters")
    return candidates


def _candidate(given: Any, hint: str) -> str:
    text = given.get("candidate") if isinstance(given, dict) else given
    if text is None:
        return ""
    if not isinstance(text, str) or not text.isprintable():
        raise ClientError("bad_candidate", f"{text!r:.60} is no candidate", hint)
    return text


def _object(body: bytes) -> dict[str, Any]:
    hint = 'an object such as {"offer":"v=0..."}'
    try:
        asked = json.loads(_text(body))
    except RecursionError as error:
        raise ClientError("bad_json", "JSON nested too deeply", hint) from error
    except ValueError as error:
        raise ClientError("bad_json", f"not JSON: {error}", hint) from error
    if not isinstance(asked, dict):
        raise ClientError("bad_json", f"JSON, but a {type(asked).__name__}", hint)
    return asked


def _text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise ClientError("bad_text", f"not UTF-8: {error.reason} at byte {error.start}", "UTF-8") from error


def _offer(offer: Any) -> str:
    hint = "the sdp of RTCPeerConnection.localDescription, or that object"
    if isinstance(offer, dict):
        if offer.get("type") != "offer":
            raise ClientError("bad_sdp", f"a description of type {offer.get('type')!r:.40}", "an offer")
        offer = offer.get("sdp")
    if not isinstance(offer, str) or not offer.strip():
        raise ClientError("no_offer", "no SDP offer", hint)
    if len(offer.encode(errors="replace")) > MAX_SDP_BYTES:
        raise ClientError("too_large", f"an offer of {len(offer)} characters", f"at most {MAX_SDP_BYTES} bytes")
    return offer


def _count(asked: Mapping[str, Any], name: str) -> int | None:
    value = asked.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**53:
        raise ClientError("bad_field", f"{name} {value!r:.40}", f"{name} is a whole number from 0")
    return value
