"""A Whisper model of two megabytes, which always says the same: what is said depends on how many tokens came before.

It lets the real faster-whisper and CTranslate2 run (features, encoder, decoder, tokens) where no model can be
downloaded. The weights are zero but for three: positions are unit vectors, layer norms leave them, and the projection
turns the n-th into the n-th word.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

SENTENCE = "this is the tiny whisper speaking".split()
"""Said when nothing came before."""
AFTERWARDS = "and it was told of something before that".split()
"""Said when a prompt of six words came before, as many as `SENTENCE` has."""

_WIDTH = 64
_UNKNOWN = "<unk>"
"""All the symbols that faster-whisper keeps a model from saying: none of them is in this vocabulary."""
_SPECIAL = tuple(
    f"<|{name}|>"
    for name in ("endoftext startoftranscript translate transcribe startoflm startofprev nospeech notimestamps".split())
)
_TIMES = tuple(f"<|{step / 50:.2f}|>" for step in range(1501))


def write(directory: Path) -> Path:
    """Write the model's files into `directory`, and return it."""
    ctranslate2: Any = importlib.import_module("ctranslate2")
    words = sorted({*SENTENCE, *AFTERWARDS})
    tokens = [_UNKNOWN, *(f"\u0120{word}" for word in words), *_SPECIAL, *_TIMES]
    spec = ctranslate2.specs.WhisperSpec(1, 1, 1, 1)
    _fill(spec, tokens)
    spec.config.suppress_ids = []
    spec.config.suppress_ids_begin = []
    spec.config.alignment_heads = [(0, 0)]
    spec.register_vocabulary(tokens)
    spec.validate()
    spec.save(str(directory))
    _write_tokenizer(directory / "tokenizer.json", tokens)
    return directory


def _fill(spec: Any, tokens: list[str]) -> None:
    encoder, decoder = spec.encoder, spec.decoder
    encoder.conv1.weight = _zeros(_WIDTH, 80, 3)
    encoder.conv2.weight = _zeros(_WIDTH, _WIDTH, 3)
    for conv in (encoder.conv1, encoder.conv2):
        conv.bias = _zeros(_WIDTH)
    encoder.position_encodings.encodings = _zeros(1500, _WIDTH)
    decoder.position_encodings.encodings = np.eye(448, _WIDTH, dtype=np.float32)
    decoder.embeddings.weight = _zeros(len(tokens), _WIDTH)
    decoder.projection.weight = _projection(tokens)
    for norm in (encoder.layer_norm, decoder.layer_norm):
        _norm(norm)
    for layer in (*encoder.layer, *decoder.layer):
        attentions = [layer.self_attention] + ([layer.attention] if hasattr(layer, "attention") else [])
        for attention in attentions:
            _norm(attention.layer_norm)
            crossed = attention is not layer.self_attention
            sizes = [_WIDTH, 2 * _WIDTH, _WIDTH] if crossed else [3 * _WIDTH, _WIDTH]
            for linear, size in zip(attention.linear, sizes, strict=True):
                linear.weight, linear.bias = _zeros(size, _WIDTH), _zeros(size)
        _norm(layer.ffn.layer_norm)
        layer.ffn.linear_0.weight, layer.ffn.linear_0.bias = _zeros(_WIDTH, _WIDTH), _zeros(_WIDTH)
        layer.ffn.linear_1.weight, layer.ffn.linear_1.bias = _zeros(_WIDTH, _WIDTH), _zeros(_WIDTH)


def _projection(tokens: list[str]) -> Any:
    """Position to token. The first word comes after two tokens (start, no timestamps), at position 1."""
    projection = _zeros(len(tokens), _WIDTH)
    said = [*SENTENCE, None, *AFTERWARDS, None]
    for position in range(_WIDTH):
        word = said[position - 1] if 0 < position <= len(said) else None
        token = "<|endoftext|>" if word is None else f"\u0120{word}"
        projection[tokens.index(token), position] = 1
    return projection


def _norm(norm: Any) -> None:
    norm.gamma, norm.beta = np.ones(_WIDTH, np.float32), _zeros(_WIDTH)


def _zeros(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def _write_tokenizer(path: Path, tokens: list[str]) -> None:
    added = [
        {
            "id": number,
            "content": token,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": token in _SPECIAL,
        }
        for number, token in enumerate(tokens)
        if token in _SPECIAL or token in _TIMES
    ]
    model = {
        "type": "WordLevel",
        "vocab": {token: number for number, token in enumerate(tokens)},
        "unk_token": _UNKNOWN,
    }
    byte_level = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    path.write_text(json.dumps(tokenizer))
