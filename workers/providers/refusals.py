"""What a vendor's refusal says of when to come back."""

from __future__ import annotations

from collections.abc import Mapping

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
