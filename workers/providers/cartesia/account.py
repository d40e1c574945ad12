"""A tenant's account at Cartesia: its key, where it is served, and how a socket is opened there."""

from __future__ import annotations

import asyncio
import logging
import os
import ssl
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import InvalidStatus, WebSocketException

from trunkline.errors import ProviderError, SettingsError
from workers.providers.cartesia import protocol

log = logging.getLogger(__name__)

KEY_VARIABLE = "CARTESIA_API_KEY"
URL_VARIABLE = "TRUNKLINE_CARTESIA_WS_URL"
HTTP_URL_VARIABLE = "CARTESIA_BASE_URL"
"""What the SDK calls the vendor's address; the sockets' is derived from it."""
CARTESIA_URL = "wss://api.cartesia.ai"

PING_S = 10.0
"""A way that died while nobody spoke is noticed before somebody does."""

CLOSE_S = 0.8
"""How long the vendor may take to answer our close frame."""


class AccountOptions(BaseModel):
    """What a tenant may choose for whatever it uses of Cartesia."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    api_key: str | None = Field(default=None, description=f"none: {KEY_VARIABLE}")
    url: str | None = Field(default=None, description=f"none: {URL_VARIABLE}, {HTTP_URL_VARIABLE}, Cartesia's own")
    connect_s: float = Field(default=3.0, gt=0, le=60, description="longest wait for a connection")


class Account:
    """Opens sockets."""

    def __init__(self, options: AccountOptions, whose: str) -> None:
        """Raises SettingsError for a key or an address that is missing or wrong; `whose` names who needs it."""
        self._headers = {"Authorization": f"Bearer {_key(options, whose)}", "cartesia-version": protocol.VERSION}
        self._url = _url(options, whose)
        self._connect_s = options.connect_s
        # Made once: it reads all certificates of the machine, which takes some 20 ms.
        self._tls = ssl.create_default_context() if self._url.startswith("wss:") else None

    async def connect(self, path: str) -> ClientConnection:
        """An open socket. Raises ProviderError when there is none in time."""
        try:
            async with asyncio.timeout(self._connect_s):
                return await connect(
                    self._url + path,
                    ssl=self._tls,
                    additional_headers=self._headers,
                    user_agent_header="trunkline",
                    max_size=4 << 20,
                    max_queue=None,  # who reads takes all that has come at once, and decides when it is read on
                    compression=None,  # base64 of noise: much CPU for a quarter of the bytes
                    ping_interval=PING_S,
                    ping_timeout=PING_S / 2,
                    open_timeout=None,  # the deadline is ours
                    close_timeout=CLOSE_S,
                )
        except TimeoutError as error:
            raise ProviderError("cartesia", f"no connection within {self._connect_s:g} s") from error
        except InvalidStatus as error:
            headers = {name.lower(): value for name, value in error.response.headers.raw_items()}
            body = bytes(error.response.body or b"")
            raise protocol.refused_upgrade(error.response.status_code, body, headers) from error
        except (OSError, EOFError, WebSocketException) as error:
            raise ProviderError("cartesia", f"cannot be reached: {type(error).__name__}: {error}") from error


async def hang_up(socket: ClientConnection) -> None:
    """Close `socket`, in CLOSE_S at most."""
    try:
        async with asyncio.timeout(CLOSE_S):
            await socket.close()
    except TimeoutError:
        log.debug("a socket is cut off: it does not answer")
    finally:
        socket.transport.abort()


def _key(options: AccountOptions, whose: str) -> str:
    key = (options.api_key or os.environ.get(KEY_VARIABLE, "")).strip()
    if not key:
        raise SettingsError(f"{whose} needs {KEY_VARIABLE} (or its option api_key): sk_car_...")
    if not (key.isascii() and key.isprintable()):  # it would be refused as a header, and quoted in the error
        raise SettingsError(f"{KEY_VARIABLE} has characters that no key has: was it copied whole, and alone?")
    return key


def _url(options: AccountOptions, whose: str) -> str:
    """Where sockets are, without their paths."""
    url = options.url or os.environ.get(URL_VARIABLE) or os.environ.get(HTTP_URL_VARIABLE) or CARTESIA_URL
    url = url.replace("http", "ws", 1) if url.startswith("http") else url
    try:
        parts = urlsplit(url)
        right = parts.scheme in ("ws", "wss") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise SettingsError(f"{whose}: its address must be like {CARTESIA_URL}, not {url!r}")
    return url.rstrip("/")
