"""The wire of Groq's SDK, by httpx2.

The SDK speaks httpx, whose connection pool (httpcore 1.0.9) loses a connection for good now and then when a request is
cancelled (github.com/encode/httpcore/issues/1093): measured here, 20 of 600 answers given up in their first 20 ms. A
caller who interrupts cancels one. httpx2, its successor, lost none.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import httpx
import httpx2

from workers.providers.kept import KeptConnections


class Transport(httpx.AsyncBaseTransport):
    """One pool of connections. `idle_s`: how long a connection is kept for the next request."""

    def __init__(self, connections: int, idle_s: float) -> None:
        limits = httpx2.Limits(
            max_connections=connections, max_keepalive_connections=connections, keepalive_expiry=idle_s
        )
        self._client = KeptConnections(limits=limits)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        sent = httpx2.Request(
            request.method,
            str(request.url),
            headers=request.headers.raw,
            content=await request.aread(),
            extensions=request.extensions,
        )
        with _as_httpx():
            response = await self._client.send(sent, stream=True)
        return httpx.Response(response.status_code, headers=response.headers.raw, stream=_Body(response))

    async def aclose(self) -> None:
        await self._client.aclose()


class _Body(httpx.AsyncByteStream):
    def __init__(self, response: httpx2.Response) -> None:
        self._response = response

    async def __aiter__(self) -> AsyncIterator[bytes]:
        with _as_httpx():
            async for part in self._response.aiter_raw():
                yield part

    async def aclose(self) -> None:
        await self._response.aclose()


@contextlib.contextmanager
def _as_httpx() -> Iterator[None]:
    """httpx2's errors by the names that the SDK knows: they are the same."""
    try:
        yield
    except httpx2.HTTPError as error:
        raise getattr(httpx, type(error).__name__, httpx.TransportError)(str(error)) from error
