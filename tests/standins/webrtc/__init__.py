"""WebRTC by plain aiortc, which shares nothing with `trunkline.rtc`: peers for tests and benchmarks."""

from .arrivals import Packet
from .line import Line
from .network import Weather

__all__ = ["Line", "Packet", "Weather"]
