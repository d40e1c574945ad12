"""WebRTC: a browser's audio by RTP, and what it is told by data channels."""
