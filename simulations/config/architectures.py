"""The model that a run trains, and what it reads."""

from __future__ import annotations

import importlib
from typing import Literal

from fl_client.training.models import register
from privacy.task.task import FeatureSpec, InputSpec, SequenceSpec
from simulations.config.config import ConfigError, TrainingConfig

_READS: dict[str, Literal["words", "characters"]] = {"word-embedding": "words", "character-cnn": "characters"}
_LENGTHS = {"words": 64, "characters": 128}
_CHARACTERS = 256
_WORDS = 16_384


def make_known(architecture: str) -> str:
    """Register an architecture given as `package.module:factory`; every process that builds it has to do so.

    Returns:
        The name itself, which tasks carry.

    Raises:
        ConfigError: when there is no such factory.
    """
    if ":" not in architecture:
        return architecture
    module, _, name = architecture.partition(":")
    try:
        factory = getattr(importlib.import_module(module), name)
    except Exception as error:  # whatever somebody's module raises
        hint = "; is its folder in PYTHONPATH?" if isinstance(error, ModuleNotFoundError) else ""
        raise ConfigError(f"training.architecture: cannot import {architecture}: {error}{hint}") from error
    if not callable(factory):
        raise ConfigError(f"training.architecture: expected {architecture} to make a module, got {factory!r}")
    register(architecture, factory)
    return architecture


def input_spec(training: TrainingConfig) -> InputSpec:
    """Return how texts become what the model reads, with the defaults of known architectures filled in."""
    unit = training.inputs or _READS.get(training.architecture)
    if unit is None or unit == "ngrams":
        return FeatureSpec(
            buckets=training.buckets or _WORDS,
            word_ngrams=training.word_ngrams,
            char_ngrams=training.char_ngrams,
            compact_ngrams=training.compact_ngrams,
        )
    vocabulary = training.buckets or (_WORDS if unit == "words" else _CHARACTERS)
    return SequenceSpec(unit=unit, vocabulary=vocabulary, length=training.length or _LENGTHS[unit])
