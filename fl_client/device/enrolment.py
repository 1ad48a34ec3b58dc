"""What the enrolment authority gives a device."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from privacy.base.canonical import Frozen
from privacy.base.signing import PUBLIC_KEY_BYTES
from privacy.secagg.membership.identity import CERTIFICATE_BYTES, Certificate, DevicePolicy, Trust

_Key = Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * PUBLIC_KEY_BYTES}}}$")]


class Enrolment(Frozen):
    """What the enrolment authority gives a device: `enrolment.json`.

    Attributes:
        certificate: of the device's two public keys, hex.
        operator: the Ed25519 public key whose tasks the device accepts, hex.
        authority: the Ed25519 public key of the enrolment authority, hex.
        policy: the least protection under which the device takes part.
    """

    certificate: Annotated[str, Field(pattern=f"^[0-9a-f]{{{2 * CERTIFICATE_BYTES}}}$")]
    operator: _Key
    authority: _Key
    policy: DevicePolicy

    @property
    def issued(self) -> Certificate:
        """The certificate, decoded."""
        return Certificate.decode(bytes.fromhex(self.certificate))

    @property
    def trust(self) -> Trust:
        """The keys and the policy by which the device judges requests."""
        return Trust(bytes.fromhex(self.operator), bytes.fromhex(self.authority), self.policy)
