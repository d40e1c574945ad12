"""What a vendor's refusal by HTTP means, and when it may be asked again."""

from __future__ import annotations

from collections.abc import Mapping

from trunkline.errors import ProviderError

LOCKED_OUT = frozenset({401, 402, 403, 404})
"""Statuses by which a vendor refuses us, whatever we ask: a wrong key, no credit, a model that there is not."""

LONGEST_S = 86_400.0
"""A wait beyond a day is no promise, but a mistake in the header."""


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """The wait that `retry-after-ms` or `retry-after` asks for, in s; None when there is none, or it is a date.

    Vendors of models send seconds (RFC 9110, 10.2.3); `retry-after-ms` is what OpenAI's and Groq's SDKs read first.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            wait_s = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if 0 <= wait_s <= LONGEST_S:
            return wait_s
    return None


def refused(provider: str, status: int, text: str, headers: Mapping[str, str]) -> ProviderError:
    """The error that an answer of HTTP `status` is. The same may succeed later after a timeout (408), a conflict
    (409), too many requests (429), Groq's lack of capacity (498), and whatever is the vendor's own fault."""
    retryable = status in (408, 409, 429, 498) or status >= 500
    return ProviderError(
        provider,
        f"HTTP {status}: {text}",
        retryable=retryable,
        retry_after_s=retry_after_s(headers),
        locked_out=status in LOCKED_OUT,
    )
