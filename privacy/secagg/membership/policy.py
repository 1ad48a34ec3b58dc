"""What a device accepts whoever signs it: limits that its host application pins, beside two public keys."""

from __future__ import annotations

from dataclasses import dataclass

from pydantic import Field

from privacy.base.canonical import Frozen
from privacy.task.task import TaskSpec


class PolicyError(ValueError):
    """A task that asks for less protection than this device insists on."""


class DevicePolicy(Frozen):
    """The least protection under which a device takes part. What a task may ask for beyond it is the operator's."""

    min_noise_multiplier: float = Field(ge=0)
    """0 accepts tasks without noise: for simulations."""
    min_survivors: int = Field(ge=2)
    """Devices in a sum."""
    min_corrupt_share: float = Field(ge=0, lt=0.5)
    """The share of a cohort that must be assumed to work with the server; thresholds and noise follow from it."""
    min_security_bits: int = Field(default=40, ge=30)
    max_participations: int | None = Field(default=None, ge=1)
    """In one task, whatever the task says; None leaves it to the task."""
    max_lifetime_participations: int | None = Field(default=None, ge=1)
    """In all tasks together, over the device's life. With `min_noise_multiplier` it caps what the device can ever lose,
    whoever draws it and whatever their ledger says: mu <= sqrt(max_lifetime_participations) / min_noise_multiplier."""
    accept_server_noise: bool = False
    """Take part where the server is trusted to add the noise, and sees every round's exact sum."""
    accept_extrapolation: bool = False
    """Take part with the small share of noise of a simulation that stands for a larger fleet."""

    def check(self, task: TaskSpec) -> None:
        """Raises PolicyError, naming the first limit that the task does not keep."""
        aggregation = task.aggregation
        limits = [
            ("noise_multiplier", task.mechanism.noise_multiplier, self.min_noise_multiplier),
            ("min_survivors", aggregation.min_survivors, self.min_survivors),
            ("corrupt_share", aggregation.corrupt_share, self.min_corrupt_share),
            ("security_bits", aggregation.security_bits, self.min_security_bits),
        ]
        for name, offered, least in limits:
            if offered < least:
                raise PolicyError(f"policy: this device wants {name} of at least {least:g}, the task has {offered:g}")
        if task.mechanism.correlation is not None and not self.accept_server_noise:
            raise PolicyError("policy: this device adds noise itself, the task leaves it to the server")
        if task.fleet is not None and not self.accept_extrapolation:
            raise PolicyError("policy: this device is no simulated one, the task has the noise of a larger fleet")
        if task.trusted_aggregator:
            raise PolicyError("policy: this device masks its update, the task has an aggregator that sees it")


@dataclass(frozen=True)
class Trust:
    """What is pinned in a device: the operator's and the authority's Ed25519 public keys, and the device's policy."""

    operator: bytes
    authority: bytes
    policy: DevicePolicy
