"""WebRTC by plain aiortc, which shares nothing with `trunkline.rtc`: callers of our gateway, and what they are made of.

async with WebRtcCaller(gateway_origin, tenant="acme") as caller:
    await caller.say("hello my name is ada")
    await caller.until_heard("you said hello my name is ada")
"""

from .arrivals import Packet
from .caller import WebRtcCaller
from .hearing import Hearing
from .line import Line
from .network import Weather

__all__ = ["Hearing", "Line", "Packet", "Weather", "WebRtcCaller"]
