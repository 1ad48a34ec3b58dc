"""Dotted names of configuration keys, and what a short name stands for."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from typing import Any, get_args

from pydantic import BaseModel

from simulations.config.config import ConfigError, RunConfig


def dotted_keys(model: type[BaseModel] = RunConfig, prefix: str = "") -> Iterator[str]:
    """Yield every key that takes a value, with the names of its sections before it."""
    for name, field in model.model_fields.items():
        section = _section(field.annotation)
        if section is None:
            yield f"{prefix}{name}"
        else:
            yield from dotted_keys(section, f"{prefix}{name}.")


def full_key(name: str) -> str:
    """Return the dotted key that `name`, dotted or its last part, stands for.

    Raises:
        ConfigError: when there is no such key, or more than one; the message names candidates.
    """
    known = list(dotted_keys())
    if name in known:
        return name
    candidates = [key for key in known if key.rpartition(".")[2] == name]
    if len(candidates) == 1:
        return candidates[0]
    if candidates:
        raise ConfigError(f"{name}: ambiguous, expected one of {', '.join(candidates)}")
    last = name.rpartition(".")[2]
    similar = [key for key in known if key.rpartition(".")[2] in difflib.get_close_matches(last, _last_parts(known))]
    raise ConfigError(f"{name}: unknown key; known are {', '.join(similar or known)}")


def value_at(config: RunConfig, key: str) -> Any:
    """Return the value of a dotted key, as JSON has it."""
    value: Any = config.model_dump(mode="json")
    for part in key.split("."):
        value = value[part]
    return value


def _last_parts(keys: list[str]) -> set[str]:
    return {key.rpartition(".")[2] for key in keys}


def _section(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field holds, `| None` or not."""
    for kind in (annotation, *get_args(annotation)):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind
    return None
