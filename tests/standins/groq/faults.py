"""What can go wrong at Groq, on demand."""

from __future__ import annotations

from typing import Literal

Fault = Literal[
    "unauthorized",
    "rate_limited",
    "at_capacity",
    "broken",
    "bad_call",
    "silent",
    "page",
    "empty",
    "stalled",
    "cut",
    "torn",
    "garbage",
    "nonsense",
    "numberless",
    "told",
    "told_bad_call",
    "told_in_words",
    "short",
    "lingering",
]
"""Refusals; no answer at all; a web page instead; nothing instead; mute in the middle of an answer; an end in its
middle, orderly or not; no JSON there, or JSON that is no chunk, in two ways; an error told there, in three ways;
`x_groq.error`; an answer that is over and does not end."""
