"""A smart turn model of 200 bytes: an ONNX file with the real one's input, whose answer is sigmoid(mean of features).

Written field by field (the numbers are those of onnx.proto3), for the `onnx` package is not among our dependencies.
"""

from __future__ import annotations

from pathlib import Path

_FLOAT = 1
_INTS = 7
_INT = 2


def write(path: Path, *, bands: int = 80, frames: int = 800) -> Path:
    """Write a model that takes features of this size."""
    mean = _field(1, b"input_features") + _field(2, b"mean") + _field(4, b"ReduceMean")
    mean += _field(5, _field(1, b"axes") + _number(8, 1) + _number(8, 2) + _number(20, _INTS))
    mean += _field(5, _field(1, b"keepdims") + _number(3, 0) + _number(20, _INT))
    sigmoid = _field(1, b"mean") + _field(2, b"logits") + _field(4, b"Sigmoid")
    taken = _value(b"input_features", _field(1, _field(2, b"N")) + _size(bands) + _size(frames))
    given = _value(b"logits", _field(1, _field(2, b"N")))
    graph = _field(1, mean) + _field(1, sigmoid) + _field(2, b"tiny") + _field(11, taken) + _field(12, given)
    path.write_bytes(_number(1, 8) + _field(7, graph) + _field(8, _number(2, 17)))
    return path


def _varint(number: int) -> bytes:
    head, rest = number & 0x7F, number >> 7
    return bytes([head | 0x80]) + _varint(rest) if rest else bytes([head])


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _field(field: int, content: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _size(size: int) -> bytes:
    return _field(1, _number(1, size))


def _value(name: bytes, shape: bytes) -> bytes:
    return _field(1, name) + _field(2, _field(1, _number(1, _FLOAT) + _field(2, shape)))
