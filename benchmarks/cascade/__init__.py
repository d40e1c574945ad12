"""What a telephone call costs that the cascade answers: `python -m benchmarks cascade`.

command.py runs it all; systems.py starts what is measured: Trunkline, or lean.py. The callers are benchmarks/phone's,
but speak (speeches.py). The vendors are ours, in one process (vendors.py): Deepgram (nova.py), Groq (groq.py) and
Cartesia (sonic.py), each with the latency that is written there. Every question gets a number when it is understood,
which goes as words (words.py) to the language model and the voice, and in the audio (phone/audio.py) to the caller;
account.py finds by it what took how long.
"""
