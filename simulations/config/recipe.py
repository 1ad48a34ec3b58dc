"""A configuration under which messages have an epsilon of their own and something is still learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping

from privacy.accounting.calibration import message_noise_for
from simulations.config.template import TEMPLATE

_PARTICIPATIONS, _STEPS, _BUCKETS = 1, 1, 1_024
"""Every participation and step asks for more noise on a device. Its length grows with the buckets, and the clip leaves
of the update what it leaves of that noise (docs/defaults.md)."""
_ROUNDS, _ROUNDS_FROM_BASE_RATE = 4, 1
"""Rounds divide the devices, who take part once. A model that starts at the base rate can do with one; another spends
its first on it."""


def message_level(epsilon: float, message_epsilon: float, delta: float, base_rate: float | None) -> str:
    """Return a configuration whose devices' messages have an epsilon too, towards a server that breaks everything else.

    Args:
        epsilon: of the device level.
        message_epsilon: of the message level, over the whole run.
        delta: of both.
        base_rate: a public guess of the fraction of positive messages, in (0, 1); None where nobody has one.

    Raises:
        ValueError: when no noise keeps them.
    """
    noise = message_noise_for(1.0, _STEPS * _PARTICIPATIONS, message_epsilon, delta)
    values = {
        "privacy.epsilon": f"{epsilon:g}",
        "privacy.delta": f"{delta:g}",
        "privacy.participation": '"bounded"',
        "privacy.max_participations": f"{_PARTICIPATIONS}",
        "training.steps": f"{_STEPS}",
        "training.message_noise": f"{noise:g}",
        "training.buckets": f"{_BUCKETS}",
        "server.rounds": f"{_ROUNDS}",
    }
    if base_rate is not None:
        values |= {"training.base_rate": f"{base_rate:g}", "server.rounds": f"{_ROUNDS_FROM_BASE_RATE}"}
    return _with_values(values)


def _with_values(values: Mapping[str, str]) -> str:
    """Return the template with other values, TOML, by dotted key."""
    text = TEMPLATE
    for dotted, value in values.items():
        section, _, key = dotted.partition(".")
        line = rf"(\n\[{section}\].*?\n)(?:# )?{key} = [^#\n]*?( *#[^\n]*\n|\n)"
        text, found = re.subn(line, rf"\g<1>{key} = {value}\g<2>", text, count=1, flags=re.DOTALL)
        if not found:
            raise KeyError(dotted)
    return text
