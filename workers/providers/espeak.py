"""Text-to-speech by eSpeak NG: a small formant synthesiser that needs no key, no model download and no network.

It sounds like a machine and starts to speak within 4 ms. eSpeak NG is GPL-3.0-or-later: it is part of the
optional `local` extra only (`espeakng-loader` brings the shared library), and is loaded when a tenant first uses it.

Measured on one core: first audio after 3.5 ms, of which 3.1 ms load the library anew (see `_fresh_library`), then 900
times faster than speech.
"""

from __future__ import annotations

import _ctypes
import asyncio
import contextlib
import ctypes
import importlib.util
import itertools
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from trunkline.errors import ProviderError, SettingsError
from workers.providers.base import Word
from workers.providers.options import read_options
from workers.providers.separate import Separate

INSTALL = "pip install espeakng-loader"

# From eSpeak NG's speak_lib.h, version 1.52.
_SYNCHRONOUS = 2
_DONT_EXIT = 0x8000
_POSITION_CHARACTER = 1
_CHARS_UTF8 = 1
_RATE, _PITCH = 1, 3
_OK = 0
_GO_ON, _STOP = 0, 1
_EVENTS_END, _WORD_BEGINS, _CLAUSE_ENDS = 0, 1, 5
_BUFFER_MS = 60

_LONGEST_PIECE = 400
"""Characters given to the library at once: about 25 s of speech, 1.2 MB, made in 20 ms."""


class _Event(ctypes.Structure):
    """espeak_EVENT of speak_lib.h."""

    _fields_ = (
        ("type", ctypes.c_int),
        ("unique_identifier", ctypes.c_uint),
        ("text_position", ctypes.c_int),
        ("length", ctypes.c_int),
        ("audio_position", ctypes.c_int),
        ("sample", ctypes.c_int),
        ("user_data", ctypes.c_void_p),
        ("id", ctypes.c_char * 8),
    )


_Callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.POINTER(_Event))


class _Voice(ctypes.Structure):
    """espeak_VOICE of speak_lib.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("languages", ctypes.c_char_p),
        ("identifier", ctypes.c_char_p),
        ("gender", ctypes.c_ubyte),
        ("age", ctypes.c_ubyte),
        ("variant", ctypes.c_ubyte),
        ("xx1", ctypes.c_ubyte),
        ("score", ctypes.c_int),
        ("spare", ctypes.c_void_p),
    )


class EspeakOptions(BaseModel):
    """A tenant's options for eSpeak."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    voice: str = Field(
        default="en-us",
        pattern=r"^[A-Za-z0-9+_ -]{1,60}$",
        description="an eSpeak voice or language, as `espeak-ng --voices` lists them",
    )
    rate_wpm: int = Field(default=160, ge=80, le=450, description="words a minute")
    pitch: int = Field(default=50, ge=0, le=99)


_lock = threading.Lock()
"""eSpeak's state is global to the process: one piece of text at a time."""


@contextlib.contextmanager
def _fresh_library() -> Iterator[ctypes.CDLL]:
    """The library, loaded anew: 3 ms.

    Its wave generator carries phases over from one text to the next with no call to reset them, so that only a newly
    mapped library speaks the same text in the same bytes. (Where the system does not unmap it, eSpeak still works,
    but the bytes differ by some samples.) Raises SettingsError when it cannot be loaded.
    """
    if importlib.util.find_spec("espeakng_loader") is None:
        raise SettingsError(f"text-to-speech 'espeak' needs espeakng-loader: {INSTALL}")
    import espeakng_loader

    with _lock:
        try:
            library = ctypes.CDLL(espeakng_loader.get_library_path())
        except OSError as error:
            raise SettingsError(f"eSpeak's shared library does not load: {error}; {INSTALL}") from error
        try:
            yield library
        finally:
            library.espeak_Terminate()
            if sys.platform != "win32":
                _ctypes.dlclose(library._handle)


def _start(library: ctypes.CDLL, options: EspeakOptions) -> int:
    """Start `library` with a voice; returns its rate in Hz. Raises SettingsError when there is no such voice."""
    import espeakng_loader

    data = espeakng_loader.get_data_path()
    rate_hz = int(library.espeak_Initialize(_SYNCHRONOUS, _BUFFER_MS, data.encode(), _DONT_EXIT))
    if rate_hz <= 0:
        raise SettingsError(f"eSpeak does not start with the data at {data}; {INSTALL}")
    voice = options.voice.encode()
    by_language = _Voice(languages=voice)
    if (
        library.espeak_SetVoiceByName(voice) != _OK
        and library.espeak_SetVoiceByProperties(ctypes.byref(by_language)) != _OK
    ):
        raise SettingsError(f"eSpeak has no voice {options.voice!r}; try en-us, en-gb, de, fr-fr, es or it")
    library.espeak_SetParameter(_RATE, options.rate_wpm, 0)
    library.espeak_SetParameter(_PITCH, options.pitch, 0)
    return rate_hz


class _Timing:
    """The times of words, from the library's events: when each begins, and when a clause is over. A word ends where its
    sound does, which before a pause is earlier."""

    def __init__(self, text: str, rate_hz: int, tell: Callable[[Word], None]) -> None:
        self._text = text
        self._rate_hz = rate_hz
        self._tell = tell
        self._word = ""
        self._start_ms = 0
        self._audio = bytearray()
        """From the word's beginning on."""

    def take(self, pcm: bytes, events: Any) -> None:
        """The next audio, and the events within it."""
        self._audio += pcm
        for event in itertools.takewhile(lambda event: event.type != _EVENTS_END, events or ()):
            if event.type in (_WORD_BEGINS, _CLAUSE_ENDS):
                self._end(event.audio_position)
            if event.type == _WORD_BEGINS:
                begins = event.text_position - 1
                self._word = self._text[begins : begins + event.length]

    def _end(self, at_ms: int) -> None:
        size = (at_ms - self._start_ms) * self._rate_hz // 1000 * 2
        sound = self._audio[:size].rstrip(b"\0")
        if self._word:
            end_ms = self._start_ms + -(-len(sound) * 1000 // (2 * self._rate_hz))
            self._tell(Word(self._word, self._start_ms, min(end_ms, at_ms)))
        del self._audio[:size]
        self._word, self._start_ms = "", at_ms


def synthesize(
    text: str, options: EspeakOptions, deliver: Callable[[bytes], bool], tell: Callable[[Word], None] | None = None
) -> None:
    """Speak `text`, handing s16le audio to `deliver` chunk by chunk until it returns False, and to `tell` its words,
    each when it is over. Blocks meanwhile.

    Raises ProviderError when the library fails, SettingsError as `_start` does.
    """
    timing: _Timing | None = None

    def on_audio(samples: Any, count: int, events: Any) -> int:
        pcm = ctypes.string_at(samples, 2 * count) if samples and count > 0 else b""
        if timing is not None:
            timing.take(pcm, events)
        return _GO_ON if not pcm or deliver(pcm) else _STOP

    callback = _Callback(on_audio)
    data = text.encode("utf-8") + b"\0"
    with _fresh_library() as library:
        rate_hz = _start(library, options)
        timing = None if tell is None else _Timing(text, rate_hz, tell)
        library.espeak_SetSynthCallback(callback)
        result = library.espeak_Synth(data, len(data), 0, _POSITION_CHARACTER, 0, _CHARS_UTF8, None, None)
    if result != _OK:
        raise ProviderError("espeak", f"the library failed with code {result}")


def pieces(text: str, longest: int = _LONGEST_PIECE) -> Iterator[str]:
    """Cut `text` into pieces of at most `longest` characters, at the last sentence end or space that fits."""
    rest = " ".join(text.replace("\0", " ").split())
    while len(rest) > longest:
        window = rest[:longest]
        cut = max(window.rfind(mark) for mark in (". ", "! ", "? "))
        cut = cut + 1 if cut > 0 else window.rfind(" ")
        cut = cut if cut > 0 else longest
        yield rest[:cut]
        rest = rest[cut:].lstrip()
    if rest:
        yield rest


class EspeakSpeech:
    """eSpeak NG as a `TextToSpeech`. The same text gives the same bytes."""

    def __init__(self, options: EspeakOptions) -> None:
        with _fresh_library() as library:
            self.rate_hz = _start(library, options)
        self._options = options
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="espeak")

    @property
    def description(self) -> str:
        return f"eSpeak NG: voice {self._options.voice}, on this machine (a plain synthetic voice; GPL-3.0)"

    async def speak(self, text: str) -> AsyncGenerator[bytes | Word, None]:
        """Stream `text` in chunks of about 60 ms, and its words. Closing the iterator stops the synthesis within one
        chunk.

        At most one piece (25 s) of audio waits here unread; the next is made when it has been taken.
        """
        size = 0
        for piece in pieces(text):
            before_ms = size * 1000 // (2 * self.rate_hz)
            async with contextlib.aclosing(self._speak_piece(piece)) as parts:
                async for part in parts:
                    if isinstance(part, Word):
                        yield Word(part.text, before_ms + part.start_ms, before_ms + part.end_ms)
                    else:
                        size += len(part)
                        yield part

    async def _speak_piece(self, piece: str) -> AsyncGenerator[bytes | Word, None]:
        loop = asyncio.get_running_loop()
        chunks: asyncio.Queue[bytes | Word | None] = asyncio.Queue()
        stopped = threading.Event()

        def tell(word: Word) -> None:
            loop.call_soon_threadsafe(chunks.put_nowait, word)

        def deliver(pcm: bytes) -> bool:
            if stopped.is_set():
                return False
            loop.call_soon_threadsafe(chunks.put_nowait, pcm)
            return True

        work = loop.run_in_executor(self._thread, synthesize, piece, self._options, deliver, tell)
        work.add_done_callback(lambda _: chunks.put_nowait(None))
        try:
            while (chunk := await chunks.get()) is not None:
                yield chunk
            await work
        finally:
            stopped.set()
            work.cancel()

    def voice(self) -> Separate:
        return Separate(self)

    async def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)


def text_to_speech(options: dict[str, Any]) -> EspeakSpeech:
    """Raises SettingsError for wrong options, a missing library or an unknown voice."""
    return EspeakSpeech(read_options(EspeakOptions, options, "text-to-speech 'espeak'"))
