"""What a WebRTC call costs and adds, beside the leanest relay that aiortc makes: `python -m benchmarks webrtc`.

command.py runs it all; systems.py starts what is measured: Trunkline or lean.py. The outside world is ours as well:
generator.py holds N callers (caller.py, talk.py), each a plain aiortc peer; model.py is the OpenAI Realtime server.
Opus keeps no bytes, so what is sent is marked by sounds (marks.py) and found again where it arrives, after the run;
account.py turns that into figures. Every process reads CLOCK_MONOTONIC, which is one clock on one machine.
"""
