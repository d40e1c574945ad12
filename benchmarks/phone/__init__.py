"""What a phone call through Trunkline costs, beside two relays that do less: `python -m benchmarks phone`.

command.py runs it all; systems.py starts what is measured: Trunkline, lean.py, or sample.py. The outside world is ours
as well: generator.py holds N Twilio callers (caller.py, talk.py), model.py is the OpenAI Realtime server (realtime.py
its events). What they time, account.py turns into figures. Every process reads CLOCK_MONOTONIC, which is one clock on
one machine.
"""
