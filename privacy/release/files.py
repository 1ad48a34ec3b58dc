"""What lies in a release directory, and how a model is written there."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load, save

from privacy.base.canonical import sha256
from privacy.task.task import ModelSpec

MODEL_FILE = "model.safetensors"
TASK_FILE = "task.json"
CARD_FILE = "card.json"
REPORT_FILE = "report.json"
STATEMENT_FILE = "statement.dsse.json"


def pack_tensors(weights: NDArray[np.float32], model: ModelSpec) -> bytes:
    """float32[d] as named tensors."""
    ends = np.cumsum([parameter.size for parameter in model.parameters])
    pieces = np.split(weights, ends[:-1])
    named = zip(model.parameters, pieces, strict=True)
    return save({parameter.name: piece.reshape(parameter.shape) for parameter, piece in named})


def unpack_tensors(data: bytes, model: ModelSpec) -> NDArray[np.float32]:
    """The flat vector, float32[d], of what `pack_tensors` made."""
    tensors = load(data)
    return np.concatenate([tensors[parameter.name].reshape(-1) for parameter in model.parameters])


def model_digest(weights: NDArray[np.float32]) -> str:
    """What a ledger records of a released model: hex SHA-256 of its flat vector, little-endian float32."""
    return sha256(weights.astype("<f4").tobytes()).hex()
