"""Texts to what a task's model reads."""

from __future__ import annotations

from collections.abc import Sequence

from fl_client.training.features import Features, hash_texts
from fl_client.training.sequences import Sequences, number_texts
from privacy.task.task import InputSpec, SequenceSpec

Inputs = Features | Sequences


def encode_texts(spec: InputSpec, texts: Sequence[str]) -> Inputs:
    """Every text as the spec says, in order."""
    return number_texts(spec, texts) if isinstance(spec, SequenceSpec) else hash_texts(spec, texts)
