"""The gateway's door for WebRTC, as a client knocks on it: POST, PATCH and DELETE under /api/realtime/webrtc."""

from __future__ import annotations

import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import httpx

BASE = "/api/realtime/webrtc"
TIMEOUT_S = 20.0
_UNUSED_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""A context of its own costs httpx 20 ms a client."""


@dataclass(frozen=True, slots=True)
class Bridged:
    """What the gateway answered."""

    session_id: str
    conversation_id: str
    answer: str
    resume: str
    """The token: of PATCH and DELETE, and of who comes back."""

    rate_hz: int
    location: str


class Signalling:
    """`origin` is the gateway's; httpx.HTTPStatusError says what it refused."""

    def __init__(self, origin: str, headers: Mapping[str, str]) -> None:
        self._http = httpx.AsyncClient(
            base_url=origin, headers=dict(headers), timeout=TIMEOUT_S, trust_env=False, verify=_UNUSED_TLS
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def bridge(self, offer: str, wanted: Mapping[str, Any]) -> Bridged:
        response = await self._http.post(f"{BASE}/bridge", json={**wanted, "offer": offer})
        body = response.raise_for_status().json()
        names = ("session_id", "conversation_id", "answer", "resume", "rate_hz")
        return Bridged(**{name: body[name] for name in names}, location=response.headers["Location"])

    async def trickle(self, bridged: Bridged, candidates: Sequence[str]) -> None:
        response = await self._http.patch(
            bridged.location, json={"candidates": list(candidates)}, headers=_bearer(bridged)
        )
        response.raise_for_status()

    async def hang_up(self, bridged: Bridged) -> None:
        response = await self._http.delete(bridged.location, headers=_bearer(bridged))
        response.raise_for_status()


def _bearer(bridged: Bridged) -> dict[str, str]:
    return {"Authorization": f"Bearer {bridged.resume}"}


def split_candidates(offer: str) -> tuple[str, list[str]]:
    """An offer without its candidates, and they: what a client sends that does not wait for them."""
    lines = offer.splitlines(keepends=True)
    kept = [line for line in lines if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    found = [line.strip().removeprefix("a=") for line in lines if line.startswith("a=candidate:")]
    return "".join(kept), list(dict.fromkeys(found))
