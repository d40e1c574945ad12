"""`python -m tests.standins.openai --port 0`: the stand-in as a process; one line of JSON says where it is."""

from __future__ import annotations

from tests.standins.process import http_vendor

from . import KEY, Speech, serve

if __name__ == "__main__":
    http_vendor("tests.standins.openai", __doc__, KEY, lambda latency_s, port: serve(Speech(latency_s=latency_s), port))
