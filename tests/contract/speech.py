"""Speech for the contract suites: eSpeak says it, a recogniser hears it."""

from trunkline.audio.resample import Resampler
from workers.providers.base import SpeechToText
from workers.providers.espeak import text_to_speech


async def spoken(text: str, rate_hz: int, voice: str = "en-us") -> bytes:
    """`text` by eSpeak between 300 ms of silence and none."""
    speech = text_to_speech({"voice": voice})
    resampler = Resampler(speech.rate_hz, rate_hz)
    parts = [part async for part in speech.speak(text) if isinstance(part, bytes)]
    pcm = b"".join(map(resampler.push, parts)) + resampler.flush()
    await speech.close()
    return bytes(rate_hz * 3 // 10 * 2) + pcm


async def heard(stt: SpeechToText, pcm: bytes, frame_bytes: int = 640) -> str:
    utterance = stt.utterance()
    for at in range(0, len(pcm), frame_bytes):
        utterance.push(pcm[at : at + frame_bytes])
    return (await utterance.finish()).text
