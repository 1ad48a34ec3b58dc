"""The report’s sentences: what the figures mean, what they do not cover, and whom a claim counts on."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from decimal import ROUND_CEILING, Context, Decimal

from privacy.report.model import TrustAssumption
from privacy.task.task import PoissonParticipation, TaskSpec

_CLAIM = (
    "Take any one device and everything on it. Had all its updates been replaced by zeros, every conclusion that "
    "can be drawn from the released models would have been almost as likely: at most exp({epsilon}), which is "
    "{odds}, times more or less, but for a probability of {delta}."
)
_NO_CLAIM = "No limit on what the released models reveal about a device can be stated: epsilon is infinite."
HYPOTHETICAL = (
    "Hypothetical: this is a simulation whose noise, cohorts and keys were derived from a seed. Whoever knows the "
    "seed can recompute and remove the noise. The figures say what the same run would cost with real randomness."
)
SYSTEM_RANDOMNESS = "Noise and keys came from the operating system’s cryptographic generator on each machine."

_BILLION = 1_000_000_000

UNIT = "one device: everything it ever holds"
ADJACENCY = "all updates of one device replaced by zero"

_AGAINST_POISSON = (
    "Whoever sees the released models and nothing else of the rounds. It does not hold against those who learn who was "
    "in a round, or only how many: the server that draws the cohorts, every device of a cohort, which is sent its "
    "list, and whoever holds the round log. Towards them ε is {known}, for a device that was in every charged round."
)
_NOTHING_HIDDEN = "Nothing is assumed secret about who takes part."
_AGAINST_BOUNDED = (
    "Whoever sees the released models, and the server itself as long as secure aggregation’s assumptions hold. "
    + _NOTHING_HIDDEN
)
_AGAINST_CORRELATED = (
    "Whoever sees the released models, and nobody who sees into the server: it alone adds the noise, it sees the exact "
    f"sum of every cohort, and it must keep its noise secret. {_NOTHING_HIDDEN}"
)
_AGAINST_TRUSTED = (
    "Whoever sees the released models, and nobody who sees into the aggregator: it sees the update of every device. "
)
_AGAINST_TRUSTED_POISSON = (
    "The figure relies on random cohorts that nobody else learns, neither who was drawn nor how many. Towards whoever "
    "does, ε is {known}, for a device that was in every charged round."
)
TRUSTED_AGGREGATOR = (
    "a trusted aggregator stood in for secure aggregation: it saw the update of every device, and added all the noise."
)
_AGGREGATORS_NOISE = (
    "Gaussian noise that a trusted aggregator adds to the sum of clipped updates, each of which it sees"
)
_AGGREGATORS_CORRELATED_NOISE = (
    "Gaussian noise, correlated from round to round ({kind}), that a trusted aggregator adds to the sum of clipped "
    "updates, each of which it sees"
)
_DEVICES_NOISE = "distributed discrete Gaussian noise on the securely aggregated sum of clipped updates"
_SERVERS_NOISE = (
    "Gaussian noise, correlated from round to round ({kind}), that the server adds to the securely aggregated sum of "
    "clipped updates"
)
WITHHELD = "The claim relies on the size of each cohort staying secret, so this report does not list the sizes."

_COMPOSITION = (
    "All charged rounds are composed together, those without a release included; epsilons are never added up."
)
_INTEGER = " The integer noise is accounted for as the continuous Gaussian that it follows."
_EXTRA_POISSON = " A device is in each round with the stated probability."
_EXTRA_CORRELATED = (
    " All rounds of the task are one Gaussian mechanism, charged for the device that takes part as often and as "
    "unfavourably as its limits allow."
)
_EXTRA_BOUNDED = " The device charged for is one that takes part as often as its own limit allows."

ROUNDING = "Epsilon is rounded up to four decimals, below 1 to five digits, and every bound on the way is an upper one."
WINDOW = (
    "What any device has spent within any {days} days. Not a lifetime guarantee: what is older is left out, though "
    "nobody forgets it. The window goes by the server’s clock."
)
POISSON_PROOF = (
    "A mixture, whose component is known, of the Gaussian mechanism with the device in it for certain, as often as a "
    "release may hinge on it, and of its Poisson subsampling: the dominating pair of Zhu, Dong and Wang (2022), "
    "Theorem 11, "
    "composed as privacy loss distributions (Koskela et al. 2020; Doroshenko et al. 2022)."
)
POISSON_RELIES_ON = (
    "The server drew each cohort itself, independently for every device within reach, and told nobody. Check-ins that "
    "devices choose the time of give no amplification, and none is claimed for them."
)

_PLANNED = (
    "If every round of this task that is left is charged as the task says, and nothing else is. Rounds that end before "
    "a charge make it less."
)
_LIFETIME = " The ledger refuses whatever would take ε above {budget} over these devices’ life, all tasks together."
_NO_LIFETIME = " No budget limits what later tasks may add to it over these devices’ life."
NOTICE = "In the operator’s own words, signed with the task. Nobody verified them."
OTHER_REASONS = "other reasons, which the log of rounds has"

MESSAGE = (
    "A second, separate guarantee for one message on a device, from noise in local training. It holds even against "
    "someone who sees that device’s own updates, and it is weak where a device holds few messages. It must never be "
    "added to the device’s figure or stand in for it."
)
NO_MESSAGE = (
    "Local training added no noise, so there is no guarantee for single messages against someone who sees a device’s "
    "own updates. The device’s figure does not depend on it."
)

NOT_PROTECTED = (
    "Facts about people in general. If the model learns that a phrase is abusive, that holds for everyone who uses "
    "it, whether or not their device took part.",
    "The model against poisoning. Devices that cheat can spoil the sum; secure aggregation hides their "
    "contribution too.",
    "Users whose labelled messages were held out to measure quality or choose a threshold. That use is not charged.",
    "Choices made by comparing runs on the same devices that this ledger neither charges nor names.",
    "A person with several devices. The unit is one device, not one human being.",
)
_NOT_VERIFIED_POISSON = (
    "That the size of each cohort stayed secret. Grid and noise of a release are the same for any size; the server, "
    "each device of a cohort and whoever has the round log do see the size, and how long a round took hints at it.",
    "That each device which can be reached fails by itself, and seldom enough: of those that were drawn at most the "
    "fraction assumed to drop out is lost before the sum, whoever else is drawn.",
)
_NOT_VERIFIED_CORRELATED = (
    "That the server added the noise it says, and kept it and the exact sums to itself. No device could see to it.",
)
_NOT_VERIFIED_TRUSTED = (
    "That the aggregator added the noise it says, and kept it, the updates and their exact sums to itself.",
)
_NOT_VERIFIED = (
    "That devices ran the published code, added their noise and kept to their limits.",
    "That no more than the assumed fraction of a cohort worked with the server, and that drop-outs did not depend on "
    "who was drawn.",
    "That secrets were erased from memory: Python gives no means to guarantee it.",
    "That this ledger is the only one its signer keeps for these devices. Compare its head with an independent copy.",
)
_MINIMISATION = (
    "Messages and updates stay on the device; only masked sums are sent.",
    "The server learns a sum over at least {min_survivors} devices, or nothing.",
    "The ledger and this report hold no device identifiers.",
)
_MINIMISATION_TRUSTED = (
    "Messages stay on the device. Its updates go to the aggregator as they are.",
    "The ledger and this report hold no device identifiers.",
)


def moment(seconds: int) -> str:
    """Write Unix time, in seconds, as ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")


def claim(epsilon: float, stated: str, delta: str) -> str:
    """Say the headline in words.

    Args:
        epsilon: what the odds follow from.
        stated: epsilon as it is stated.
        delta: delta as it is stated.
    """
    if math.isinf(epsilon):
        return _NO_CLAIM
    return _CLAIM.format(epsilon=stated, delta=delta, odds=_odds(epsilon))


def _odds(epsilon: float) -> str:
    """Write exp(epsilon) to three digits, rounded up."""
    if epsilon >= math.log(_BILLION):
        return "more than a billion"
    odds = Context(prec=3, rounding=ROUND_CEILING).create_decimal(Decimal(epsilon).exp())
    return f"{odds:,f}"


def mechanism(spec: TaskSpec) -> str:
    """Say whose noise it is, and how it is added."""
    correlation, trusted = spec.mechanism.correlation, spec.simulation.trusted_aggregator
    if correlation is None:
        return _AGGREGATORS_NOISE if trusted else _DEVICES_NOISE
    return (_AGGREGATORS_CORRELATED_NOISE if trusted else _SERVERS_NOISE).format(kind=correlation.kind)


def holds_against(spec: TaskSpec, known: float | None) -> str:
    """Say towards whom the device’s figure holds, and what holds towards the others.

    Args:
        spec: the task.
        known: the epsilon towards those who learn the cohorts; None where nothing was sampled.
    """
    sampled = isinstance(spec.participation, PoissonParticipation)
    stated = "0" if known is None else known_cohorts(known)
    if spec.simulation.trusted_aggregator:
        return _AGAINST_TRUSTED + (_AGAINST_TRUSTED_POISSON.format(known=stated) if sampled else _NOTHING_HIDDEN)
    if spec.mechanism.correlation is not None:
        return _AGAINST_CORRELATED
    return _AGAINST_POISSON.format(known=stated) if sampled else _AGAINST_BOUNDED


def not_verified(spec: TaskSpec) -> tuple[str, ...]:
    """Say what the figures take on trust."""
    sampled = isinstance(spec.participation, PoissonParticipation)
    correlated = spec.mechanism.correlation is not None
    trusted = _NOT_VERIFIED_TRUSTED if spec.simulation.trusted_aggregator else ()
    more = (_NOT_VERIFIED_POISSON if sampled else ()) + (_NOT_VERIFIED_CORRELATED if correlated else ())
    return _NOT_VERIFIED + more + trusted


def minimisation(spec: TaskSpec) -> tuple[str, ...]:
    """Say what nobody but a device learns."""
    lines = _MINIMISATION_TRUSTED if spec.simulation.trusted_aggregator else _MINIMISATION
    return tuple(line.format(min_survivors=spec.aggregation.min_survivors) for line in lines)


def composition(spec: TaskSpec) -> str:
    """Say how rounds were composed."""
    if spec.mechanism.correlation is not None:
        return _COMPOSITION + _EXTRA_CORRELATED
    return (
        _COMPOSITION
        + _INTEGER
        + (_EXTRA_POISSON if isinstance(spec.participation, PoissonParticipation) else _EXTRA_BOUNDED)
    )


def planned(spec: TaskSpec) -> str:
    """Say what the figure at the end of the plan counts on, and what limits it over the devices' life."""
    budget = spec.budget.epsilon
    return _PLANNED + (_NO_LIFETIME if budget is None else _LIFETIME.format(budget=f"{budget:g}"))


def warnings(spec: TaskSpec) -> tuple[str, ...]:
    """Say what a reader should stumble over."""
    devices = getattr(spec.participation, "population", None)
    lines = []
    if devices is not None and spec.budget.delta >= 1 / devices:
        lines.append(f"delta {spec.budget.delta} is not smaller than one in {devices} devices.")
    if spec.randomness == "seeded":
        lines.append(HYPOTHETICAL)
    if spec.simulation.trusted_aggregator:
        lines.append(f"In this simulation {TRUSTED_AGGREGATOR}")
    return tuple(lines)


AGGREGATOR = "Aggregator"

_DEVICES = TrustAssumption(
    party="Devices",
    trusted_to="At most {corrupt} of a cohort work with the server, {dropout} devices drop out, the others add noise.",
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


def trust(spec: TaskSpec, known: float | None) -> tuple[TrustAssumption, ...]:
    """Name everybody whom a task's claim counts on; `known` is the epsilon towards those who learn the cohorts."""
    policy = spec.aggregation
    facts = {
        "corrupt": f"{policy.corrupt_fraction:.0%}",
        "dropout": str(policy.max_dropouts),
        "known": "" if known is None else known_cohorts(known),
    }
    return tuple(
        assumption.model_copy(
            update={
                "trusted_to": assumption.trusted_to.format(**facts),
                "otherwise": assumption.otherwise.format(**facts),
            }
        )
        for assumption in (*_round(spec), _MAKER, _OPERATOR)
    )


def _round(spec: TaskSpec) -> tuple[TrustAssumption, ...]:
    """Name who can spoil what a round promises."""
    server = _server(spec)
    if spec.simulation.trusted_aggregator:
        return (_AGGREGATOR, server) if server is _SERVER_DRAWS else (_AGGREGATOR,)
    return server, _DEVICES_WITHOUT_NOISE if server is _SERVER_ADDS_NOISE else _DEVICES, _AUTHORITY


def _server(spec: TaskSpec) -> TrustAssumption:
    if spec.mechanism.correlation is not None:
        return _SERVER_ADDS_NOISE
    return _SERVER_DRAWS if isinstance(spec.participation, PoissonParticipation) else _SERVER_IS_WATCHED


def known_cohorts(epsilon: float) -> str:
    """Write the epsilon towards those who learn who takes part, to one decimal, rounded up."""
    return f"{math.ceil(epsilon * 10) / 10:g}" if math.isfinite(epsilon) else "without limit"
