"""Whom a claim counts on, and what is lost if they fail: in words, for a report."""

from __future__ import annotations

import math
from collections import Counter

from privacy.accounting.events import Event, PoissonGaussian
from privacy.accounting.exposure import compose
from privacy.accounting.gaussian import epsilon_bracket
from privacy.report.model import TrustAssumption
from privacy.task.task import PoissonParticipation, TaskSpec

AGGREGATOR = "Aggregator"

_DEVICES = TrustAssumption(
    party="Devices",
    trusted_to="At most {corrupt} of a cohort work with the server, at most {dropout} drop out, the others add noise.",
    otherwise="With fewer honest devices a sum has less noise than was charged, and ε is larger than stated.",
)
_DEVICES_WITHOUT_NOISE = TrustAssumption(
    party="Devices",
    trusted_to="At most {corrupt} of a cohort work with the server.",
    otherwise="Secure aggregation may then show the server single updates. ε counts on the server’s noise alone.",
)
_SERVER_DRAWS = TrustAssumption(
    party="Server",
    trusted_to="It draws every cohort by chance, and tells nobody who was drawn or how many.",
    otherwise="What is left is the noise in each round. For a device known to be in every charged round ε is {known}.",
)
_SERVER_IS_WATCHED = TrustAssumption(
    party="Server",
    trusted_to="Nothing that ε counts on: devices add the noise, count their own rounds, and mask their updates.",
    otherwise="It can end rounds without a result, and learns no more than the noisy sums.",
)
_SERVER_ADDS_NOISE = TrustAssumption(
    party="Server",
    trusted_to="It adds the noise, and keeps the noise and the exact sums to itself.",
    otherwise="Whoever has a sum without its noise is held back by no ε.",
)
_AGGREGATOR = TrustAssumption(
    party=AGGREGATOR,
    trusted_to="It sees every update, cuts it to the clip, adds the noise, and keeps all but the noisy sums to itself.",
    otherwise="Whoever has an update, or a sum without its noise, is held back by no ε.",
)
_AUTHORITY = TrustAssumption(
    party="Enrolment authority",
    trusted_to="It certifies real devices only, each of them once.",
    otherwise="Made-up devices work with whoever made them up. Enough of them in a cohort leave one real device’s "
    "update with hardly any noise but its own.",
)
_MAKER = TrustAssumption(
    party="Maker of the app",
    trusted_to="It ships the published code, and the two public keys that devices check everything against.",
    otherwise="A device that runs other code may send anything of its own.",
)
_OPERATOR = TrustAssumption(
    party="Operator",
    trusted_to="It keeps one ledger for these devices, and charges or names in it every use of their data.",
    otherwise="What is in no ledger adds to ε unseen. A witness to the ledger makes a second one show.",
)


def trust(spec: TaskSpec, counts: Counter[Event]) -> tuple[TrustAssumption, ...]:
    """For this task; `counts` is all that was charged to its population."""
    policy = spec.aggregation
    facts = {
        "corrupt": f"{policy.corrupt_share:.0%}",
        "dropout": f"{policy.dropout_share:.0%}",
        "known": _known_cohorts(counts, spec.budget.delta),
    }
    found = (*_round(spec), _MAKER, _OPERATOR)
    return tuple(
        one.model_copy(
            update={"trusted_to": one.trusted_to.format(**facts), "otherwise": one.otherwise.format(**facts)}
        )
        for one in found
    )


def _round(spec: TaskSpec) -> tuple[TrustAssumption, ...]:
    """Who can spoil what a round promises."""
    server = _server(spec)
    if spec.trusted_aggregator:
        return (_AGGREGATOR, server) if server is _SERVER_DRAWS else (_AGGREGATOR,)
    return server, _DEVICES_WITHOUT_NOISE if server is _SERVER_ADDS_NOISE else _DEVICES, _AUTHORITY


def _server(spec: TaskSpec) -> TrustAssumption:
    if spec.mechanism.correlation is not None:
        return _SERVER_ADDS_NOISE
    return _SERVER_DRAWS if isinstance(spec.participation, PoissonParticipation) else _SERVER_IS_WATCHED


def _known_cohorts(counts: Counter[Event], delta: float) -> str:
    """Epsilon if nothing about who takes part were secret, rounded up."""
    known: Counter[Event] = Counter()
    for event, times in counts.items():
        known[event.model_copy(update={"sampling_rate": 1.0}) if isinstance(event, PoissonGaussian) else event] += times
    epsilon = epsilon_bracket(compose(known).mu, delta)[1]
    return f"{math.ceil(epsilon * 10) / 10:g}" if math.isfinite(epsilon) else "without limit"
