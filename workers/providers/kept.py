"""An HTTP client whose kept connections may have died unnoticed: that fails no request.

A server closes a connection nobody used for a while (uvicorn, and so vLLM, after 5 s), and a request may leave in just
that moment. It was not answered and will not be, so it is sent again, on another connection. Nothing else is.
"""

from __future__ import annotations

from typing import Any

import httpx2

_LOST = (httpx2.ReadError, httpx2.WriteError, httpx2.RemoteProtocolError)


class KeptConnections(httpx2.AsyncClient):
    """`httpx2.AsyncClient`, but for that. Bodies must be such as can be sent twice: bytes, forms."""

    async def send(self, request: httpx2.Request, **options: Any) -> httpx2.Response:
        """As the parent's. A connection that was made for this request and is lost is an error, as ever."""
        dialled = False

        async def note(event: str, _: object) -> None:
            nonlocal dialled
            dialled = dialled or event.startswith("connection.connect")

        request.extensions = {**request.extensions, "trace": note}
        while True:  # each kept connection that is lost is one less
            try:
                return await super().send(request, **options)
            except _LOST:
                if dialled:
                    raise
