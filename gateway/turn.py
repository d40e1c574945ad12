"""The ICE servers that a browser is told of: STUN, and TURN with a password that is good for a while. Pure.

The TURN server and we share a secret, so neither keeps users: the name says until when it is good, and the password is
its signature. draft-uberti-behave-turn-rest-00, coturn's `use-auth-secret`.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import NamedTuple

from trunkline.errors import SettingsError
from trunkline.settings import Settings


class IceServer(NamedTuple):
    """An RTCIceServer (W3C WebRTC, 4.2.2); `username` and `credential` are empty for STUN."""

    urls: tuple[str, ...]
    username: str = ""
    credential: str = ""

    def as_json(self) -> dict[str, str | list[str]]:
        told: dict[str, str | list[str]] = {"urls": list(self.urls)}
        if self.username:
            told |= {"username": self.username, "credential": self.credential}
        return told

    def as_links(self) -> list[str]:
        """As `Link` headers, RFC 9725, 4.6."""
        secret = f'; username="{self.username}"; credential="{self.credential}"; credential-type="password"'
        return [f'<{url}>; rel="ice-server"' + (secret if self.username else "") for url in self.urls]


def check(settings: Settings) -> None:
    """Raises SettingsError for TURN servers that nobody could be let in to."""
    if settings.turn_server_urls and not settings.turn_secret:
        raise SettingsError("TRUNKLINE_TURN_URLS needs TRUNKLINE_TURN_SECRET: coturn's static-auth-secret")


def ice_servers(settings: Settings, user: str, now_s: float) -> list[IceServer]:
    """What `user` is given at `now_s` (Unix time), good for `TRUNKLINE_TURN_TTL_S`."""
    servers = []
    if settings.stun_server_urls:
        servers.append(IceServer(settings.stun_server_urls))
    if settings.turn_server_urls:
        username = f"{int(now_s) + settings.turn_ttl_s}:{user}"
        servers.append(IceServer(settings.turn_server_urls, username, _credential(settings.turn_secret, username)))
    return servers


def _credential(secret: str, username: str) -> str:
    signature = hmac.new(secret.encode(), username.encode(), hashlib.sha1)
    return base64.b64encode(signature.digest()).decode()
