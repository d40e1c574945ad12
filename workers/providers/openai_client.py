"""A client of OpenAI's SDK, as a caller who waits needs it: without retries, and with connections that are kept."""

from __future__ import annotations

import httpx2
import openai

from workers.providers.kept import KeptConnections

IDLE_S = 60.0
"""A caller asks the next thing within so long. The SDK drops a connection after 5 s, and a new one takes OpenAI three
round trips."""


def client(base_url: str | None, api_key: str | None, connect_s: float) -> openai.AsyncOpenAI:
    """What is not the connection is under each provider's own deadlines, which know what has come already."""
    timeout = openai.Timeout(None, connect=connect_s)
    limits = httpx2.Limits(max_connections=1000, max_keepalive_connections=100, keepalive_expiry=IDLE_S)
    return openai.AsyncOpenAI(
        base_url=base_url,
        api_key=api_key or "none-needed",
        max_retries=0,
        timeout=timeout,
        http_client=KeptConnections(timeout=timeout, limits=limits, follow_redirects=True),
    )
