"""Rules that turn a run's numbers into what was wrong with it; none of them knows anything but the run's own files.

Each rule rests on numbers that are named with the file and key they are from, and on a bound that is stated beside
them. docs/defaults.md has the studies behind the bounds on noise, rates and rounds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from privacy.schedule import FAR_RATE
from simulations.evaluation.marks import FALL, FEWEST_POSITIVES, FEWEST_USERS, still_falling
from simulations.runs.doctor.reading import FinishedRun

_TOO_LONG, _TOO_SHORT = 30.0, 0.2
"""The median update over the clip above which a device can only point somewhere, and below which noise is wasted."""
_DROWNED = 0.5
"""Noise in a logit over the spread of logits: half of what the model says is then noise."""
_WORSE = 1.05
"""The test loss over that of saying the base rate to everybody, above which scores are overconfident."""
_LOST_ROUNDS = 0.1
_FEWEST_DEVICES = 100
_UNSEEN = 0.2


@dataclass(frozen=True)
class Evidence:
    """A number, where it is from, and the bound that it broke."""

    value: float
    source: str
    bound: str


@dataclass(frozen=True)
class Finding:
    """Something that was wrong.

    Attributes:
        code: its name for programs.
        what: a sentence with the numbers.
        change: the flags or keys to change, and how.
        evidence: the numbers it rests on.
    """

    code: str
    what: str
    change: str
    evidence: tuple[Evidence, ...]


def diagnose(run: FinishedRun) -> list[Finding]:
    """Return everything that was wrong with a run, what outweighs the rest first; nothing for a healthy one."""
    return [finding for rule in ((_lost_rounds,) if run.gave_up else _RULES) for finding in rule(run)]


def _few_devices(run: FinishedRun) -> Iterator[Finding]:
    devices = run.summary["devices"] - (run.summary["empty_devices"] or 0)
    if devices < _FEWEST_DEVICES:
        seen = Evidence(devices, "summary.json: devices - empty_devices", f">= {_FEWEST_DEVICES}")
        yield Finding(
            "too_few_users",
            f"{devices} devices hold messages: their noise is never averaged out",
            "--data with more users; with fewer, raise --epsilon, or report the run without a claim",
            (seen,),
        )


def _few_positives(run: FinishedRun) -> Iterator[Finding]:
    positives, users = run.summary["test_positives"], run.summary["test_users_with_positives"]
    if positives < FEWEST_POSITIVES or users < FEWEST_USERS:
        yield Finding(
            "too_few_positives",
            f"{positives} test messages of {users} users are abuse: no metric means much",
            "--data with more labelled abuse of more users",
            (
                Evidence(positives, "summary.json: test_positives", f">= {FEWEST_POSITIVES}"),
                Evidence(users, "summary.json: test_users_with_positives", f">= {FEWEST_USERS}"),
            ),
        )


def _script(run: FinishedRun) -> Iterator[Finding]:
    told = run.summary["diagnostics"]
    if told["shortest_ngram"] > 2 and told["compact_letters"] > _UNSEEN:
        yield Finding(
            "script_not_covered",
            f"{told['compact_letters']:.0%} of letters are of scripts without spaces, or of syllables, and features "
            f"read {told['shortest_ngram']} at least: they do not see the words",
            "training.compact_ngrams from 1 on",
            (Evidence(told["compact_letters"], "summary.json: diagnostics.compact_letters", f"<= {_UNSEEN}"),),
        )


def _lost_rounds(run: FinishedRun) -> Iterator[Finding]:
    rounds, released = run.summary["rounds"], run.summary["rounds_released"]
    if rounds and 1 - released / rounds > _LOST_ROUNDS:
        reasons = sorted({str(line["aborted"]) for line in run.lines if line["aborted"]})
        first = f"; the first reason: {reasons[0][:200]}" if reasons else ""
        yield Finding(
            "rounds_lost",
            f"{rounds - released} of {rounds} rounds released nothing{first}",
            "server.dropout_fraction above the fraction that is lost, a lower --drop-out, or a larger --cohort",
            (Evidence(1 - released / rounds, "summary.json: rounds, rounds_released", f"<= {_LOST_ROUNDS}"),),
        )


def _noise(run: FinishedRun) -> Iterator[Finding]:
    told = run.summary["diagnostics"]
    noise, spread = told["logit_noise"], told["logit_spread"]
    if noise is None or not spread or noise / spread <= _DROWNED:
        return
    yield Finding(
        "noise_drowned",
        f"all rounds' noise has a standard deviation of {noise:.2g} in a logit, and the logits of the test messages "
        f"one of {spread:.2g}: {min(1.0, noise / spread):.0%} of what the model says is noise",
        "a larger --cohort, more --rounds, a higher --epsilon, or more devices; one shard instead of several",
        (Evidence(noise / spread, "summary.json: diagnostics.logit_noise / logit_spread", f"<= {_DROWNED}"),),
    )


def _clip(run: FinishedRun) -> Iterator[Finding]:
    told = run.summary["diagnostics"]
    if told["update_norm"] is None:
        return
    ratio = told["update_norm"] / told["clip"]
    source = "summary.json: diagnostics.update_norm / clip"
    if ratio > _TOO_LONG:
        yield Finding(
            "clipped_too_hard",
            f"a device's update is {ratio:.3g} times the clip in the median, and {told['updates_clipped']:.0%} are "
            "cut: one loud message decides where it points",
            f"--clip {_round(told['update_norm'] / 5)}, or a lower training.learning_rate or fewer local steps",
            (Evidence(ratio, source, f"<= {_TOO_LONG}"),),
        )
    elif ratio < _TOO_SHORT:
        yield Finding(
            "clip_too_loose",
            f"a device's update is {ratio:.3g} of the clip in the median: the noise is made for updates that nobody "
            "sends",
            f"--clip {_round(told['update_norm'])}, with the server's learning rate raised by as much",
            (Evidence(ratio, source, f">= {_TOO_SHORT}"),),
        )


def _rate(run: FinishedRun) -> Iterator[Finding]:
    told = run.summary["diagnostics"]
    rate, ruled = told["learning_rate"], told["ruled_learning_rate"]
    loss, base = run.summary["loss"], _base_loss(run)
    against = (
        [] if ruled is None else [Evidence(rate / ruled, "summary.json: diagnostics.learning_rate", "of the rule")]
    )
    if (ruled is not None and rate > FAR_RATE * ruled) or (
        base is not None and loss > _WORSE * base and (ruled is None or rate > ruled)
    ):
        worse = [] if base is None else [Evidence(loss / base, "summary.json: loss", f"<= {_WORSE} of the base rate's")]
        yield Finding(
            "learning_rate_too_high",
            f"the server's learning rate is {rate:g}{_beside(ruled)}; the test loss is {loss:.3g}"
            + ("" if base is None else f", and {base:.3g} for saying the base rate to everybody"),
            f"--server-learning-rate {_round(ruled or rate / 4)}",
            (*against, *worse),
        )
    elif ruled is not None and rate < ruled / FAR_RATE:
        yield Finding(
            "learning_rate_too_low",
            f"the server's learning rate is {rate:g}{_beside(ruled)}; the logits of the test messages have a standard "
            f"deviation of only {told['logit_spread']:.2g}",
            f"--server-learning-rate {_round(ruled)}",
            tuple(against),
        )


def _rounds(run: FinishedRun) -> Iterator[Finding]:
    if any(finding.code == "learning_rate_too_high" for finding in _rate(run)):
        return  # its loss swings, and may well end on the way down
    fall = still_falling(run.lines)
    if fall is not None and fall > FALL:
        yield Finding(
            "too_few_rounds",
            f"the test loss still fell by {fall:.1%} in the last fifth of {run.summary['rounds']} rounds",
            f"--rounds {2 * run.summary['rounds']}",
            (Evidence(fall, "metrics.jsonl: loss", "of the fifth before"),),
        )


def _beside(ruled: float | None) -> str:
    return "" if ruled is None else f", where the rule for this noise gives {ruled:g}"


def _base_loss(run: FinishedRun) -> float | None:
    """Return the loss of whoever gives every test message the fraction of abuse among them; None without both."""
    abuse = float(run.summary["test_positives"] / max(1, run.summary["test_messages"]))
    if not 0 < abuse < 1:
        return None
    return -abuse * math.log(abuse) - (1 - abuse) * math.log1p(-abuse)


def _round(value: float) -> str:
    return f"{value:.2g}"


_RULES: tuple[Callable[[FinishedRun], Iterator[Finding]], ...] = (
    _few_devices,
    _few_positives,
    _script,
    _lost_rounds,
    _noise,
    _clip,
    _rate,
    _rounds,
)


def as_json(run: FinishedRun, findings: list[Finding]) -> dict[str, Any]:
    """Return findings and marks for programs."""
    return {
        "marks": list(run.summary["marks"]),
        "findings": [
            {
                "code": finding.code,
                "what": finding.what,
                "change": finding.change,
                "evidence": [vars(evidence) for evidence in finding.evidence],
            }
            for finding in findings
        ],
    }
