"""How the calls of the benchmark are set: one tenant, whose vendors are at a port of ours."""

from __future__ import annotations

from benchmarks.phone.dialling import NUMBER
from trunkline.tenants import parse

STOP_MS = 480
"""Silence that ends every question, whatever its words, and nothing is asked before: so it is known what an answer
waited for."""

STREAMING = '{{provider: deepgram, url: "ws://127.0.0.1:{port}", rate_hz: 8000}}'
BATCH = '{{provider: groq, base_url: "http://127.0.0.1:{port}", requests: 32}}'

_TENANT = """\
id: phone
backend: cascade
phone_numbers: ["{number}"]
turn: {{stop_ms: {stop_ms}, finished_ms: {stop_ms}, unfinished_ms: {stop_ms}, smart_turn: false, preemptive: false}}
providers:
  stt: {stt}
  llm: {{provider: groq, base_url: "http://127.0.0.1:{port}"}}
  tts: {{provider: cartesia, url: "ws://127.0.0.1:{port}", rate_hz: 8000}}
"""


def tenant(stt: str, port: int) -> str:
    """YAML; `stt` is STREAMING or BATCH, the vendors are at `port`."""
    return _TENANT.format(number=NUMBER, stop_ms=STOP_MS, stt=stt.format(port=port), port=port)


SETTINGS = parse(tenant(STREAMING, 0), "the benchmark").turn
"""When a turn begins and ends, for all systems."""
