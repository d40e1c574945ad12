"""A Piper voice of a few kilobytes: a valid ONNX file with Piper's inputs and output, which hums instead of speaking.

It lets the real piper-tts package run (phonemes, session, sentences) where no voice can be downloaded.
"""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

RATE_HZ = 16000
SAMPLES_A_PHONEME = 800


def write(directory: Path) -> Path:
    """Write the voice and its settings; returns the path of the .onnx."""
    onnx: Any = importlib.import_module("onnx")
    helper: Any = importlib.import_module("onnx.helper")
    numpy_helper: Any = importlib.import_module("onnx.numpy_helper")
    hum = np.sin(2 * np.pi * 220 * np.arange(SAMPLES_A_PHONEME) / RATE_HZ).astype(np.float32)[None] * 0.3
    nodes = [
        helper.make_node("Cast", ["input"], ["ids"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Mul", ["ids", "zero"], ["zeros"]),
        helper.make_node("Add", ["zeros", "one"], ["ones"]),
        helper.make_node("Reshape", ["ones", "column"], ["ones_column"]),
        helper.make_node("MatMul", ["ones_column", "hum"], ["frames"]),
        helper.make_node("Reshape", ["frames", "wave"], ["output"]),
    ]
    constants = {
        "zero": np.float32(0),
        "one": np.float32(1),
        "column": np.array([-1, 1], np.int64),
        "hum": hum,
        "wave": np.array([1, 1, 1, -1], np.int64),
    }
    graph = helper.make_graph(
        nodes,
        "hum",
        [
            helper.make_tensor_value_info("input", onnx.TensorProto.INT64, [1, None]),
            helper.make_tensor_value_info("input_lengths", onnx.TensorProto.INT64, [1]),
            helper.make_tensor_value_info("scales", onnx.TensorProto.FLOAT, [3]),
        ],
        [helper.make_tensor_value_info("output", onnx.TensorProto.FLOAT, [1, 1, 1, None])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)
    path = directory / "hum.onnx"
    onnx.save(model, str(path))
    symbols = "_^$ abcdefghijklmnopqrstuvwxyzæðŋɐɑɔəɚɛɜɡɪɹɾʃʊʌʒˈˌː.,!?"  # noqa: RUF001 - phonemes
    settings = {
        "audio": {"sample_rate": RATE_HZ},
        "espeak": {"voice": "en-us"},
        "inference": {"noise_scale": 0.667, "length_scale": 1, "noise_w": 0.8},
        "phoneme_type": "espeak",
        "phoneme_id_map": {symbol: [place] for place, symbol in enumerate(symbols)},
        "num_symbols": len(symbols),
        "num_speakers": 1,
        "speaker_id_map": {},
    }
    Path(f"{path}.json").write_text(json.dumps(settings), encoding="utf-8")
    return path
