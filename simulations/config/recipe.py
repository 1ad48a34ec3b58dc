"""A configuration under which messages have an epsilon of their own and something is still learnt."""

from __future__ import annotations

import re
from collections.abc import Mapping

from privacy.accounting.calibration import message_noise_for
from simulations.config.template import TEMPLATE

_ROUNDS, _PARTICIPATIONS, _STEPS, _BUCKETS = 4, 1, 1, 1_024
"""Of the recipe. Every participation and step asks for more noise on a device, whose length grows with the buckets and
of which the clip leaves what it leaves of the update (docs/defaults.md)."""


def message_level(epsilon: float, message_epsilon: float, delta: float) -> str:
    """Return a configuration whose devices' messages have an epsilon too, towards a server that breaks everything else.

    Args:
        epsilon: of the device level.
        message_epsilon: of the message level, over the whole run.
        delta: of both.

    Raises:
        ValueError: when no noise keeps them.
    """
    noise = message_noise_for(1.0, _STEPS * _PARTICIPATIONS, message_epsilon, delta)
    return _with_values(
        {
            "privacy.epsilon": f"{epsilon:g}",
            "privacy.delta": f"{delta:g}",
            "privacy.participation": '"bounded"',
            "privacy.max_participations": f"{_PARTICIPATIONS}",
            "training.steps": f"{_STEPS}",
            "training.message_noise": f"{noise:g}",
            "training.buckets": f"{_BUCKETS}",
            "server.rounds": f"{_ROUNDS}",
        }
    )


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
