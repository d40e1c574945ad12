"""Offers of a call: good ones, by an independent implementation, and what is none."""

from __future__ import annotations

import re

from aiortc import RTCConfiguration, RTCPeerConnection


async def offered(*kinds: str) -> str:
    """What an independent implementation offers."""
    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    try:
        for kind in kinds:
            if kind == "data":
                peer.createDataChannel("trunkline")
            else:
                peer.addTransceiver(kind)
        await peer.setLocalDescription(await peer.createOffer())
        return peer.localDescription.sdp
    finally:
        await peer.close()


def hostile(good: str, video: str, data: str) -> dict[str, str]:
    lines = good.splitlines(keepends=True)
    candidates = "".join(
        f"a=candidate:{i} 1 udp 1 192.0.2.{i % 250 + 1} {1024 + i} typ host\r\n" for i in range(10_000)
    )
    return {
        "nothing but a version": "v=0\r\n",
        "noise": "".join(chr(0x21 + i * 7 % 90) for i in range(3000)),
        "half of one": good[: len(good) // 2],
        "no first line": "".join(lines[1:]),
        "no fingerprint": re.sub(r"a=fingerprint:.*\r\n", "", good),
        "no ICE": re.sub(r"a=ice-(ufrag|pwd):.*\r\n", "", good),
        "no codec of ours": good.replace("opus/48000/2", "speex/16000"),
        "a codec that is none": re.sub(r"a=rtpmap:.*\r\n", "a=rtpmap:96\r\n", good),
        "a port that is none": good.replace("m=audio ", "m=audio x"),
        "video alone": video,
        "data alone": data,
        "two microphones": good + good[good.index("m=audio") :],
        "10,000 candidates": good.replace("a=candidate", candidates + "a=candidate", 1),
        "1 MB": good + "a=x:" + "y" * 1_000_000 + "\r\n",
        "a MB of lines": good + "a=x\r\n" * 200_000,
    }
