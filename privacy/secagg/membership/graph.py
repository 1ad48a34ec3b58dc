"""The neighbour table: who drew whom on a random graph, which all devices have to agree on before anything is unmasked.

A device masks with the holders it drew, and with those that drew it. Of the latter only the server tells it, so a
server could keep an encrypted share back: its sender adds a mask that the holder leaves out, and the sender falls out
of what the others' vectors add up to. Each device checks its own row and its own column of this table and signs all of
it with the survivor set, so among those that signed the same table every edge is an edge at both of its ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from privacy.secagg.errors import WireError
from privacy.secagg.membership.params import Parameters


@dataclass(frozen=True)
class NeighbourTable:
    """A row for each survivor, and in it a bit for each member of the cohort that holds its secret shares.

    Attributes:
        survivors: their places in the roster, ascending.
        rows: uint8[survivors, ceil(cohort / 8)], lowest bit first; uint8[survivors, 0] on a complete graph.
    """

    survivors: tuple[int, ...]
    rows: NDArray[np.uint8]

    @classmethod
    def of(cls, holders: Mapping[int, Collection[int]], survivors: Sequence[int], params: Parameters) -> NeighbourTable:
        """Make the table of the holders that the survivors drew.

        Args:
            holders: places of each survivor's holders, by the survivor's place.
            survivors: their places, ascending.
            params: the cohort's parameters; the table of a complete graph is empty.
        """
        drawn = np.zeros((len(survivors), 0 if params.complete else params.cohort), np.bool_)
        if not params.complete:
            for row, survivor in zip(drawn, survivors, strict=True):
                row[list(holders[survivor])] = True
        return cls(tuple(survivors), np.packbits(drawn, axis=1, bitorder="little"))

    def encode(self) -> bytes:
        """Return the rows, one after the other; who the survivors are is sent beside them."""
        return self.rows.tobytes()

    @classmethod
    def decode(cls, data: bytes, survivors: tuple[int, ...], params: Parameters) -> NeighbourTable:
        """Read the table of these survivors.

        Args:
            data: the rows, as `encode` gives them.
            survivors: their places, ascending.
            params: the cohort's parameters.

        Raises:
            WireError: when `data` is not as long as the table of so many.
        """
        width = 0 if params.complete else -(-params.cohort // 8)
        if len(data) != width * len(survivors):
            raise WireError(f"neighbour table: expected {width} bytes for each of {len(survivors)}, got {len(data)}")
        return cls(survivors, np.frombuffer(data, np.uint8).reshape(len(survivors), width))

    def drawn_by(self, survivor: int) -> set[int]:
        """Return the places of the holders that a survivor drew, as far as the table says.

        Raises:
            ValueError: when it is no survivor.
        """
        row = self.rows[self.survivors.index(survivor)]
        return set(np.flatnonzero(np.unpackbits(row, bitorder="little")).tolist())

    def who_drew(self, member: int) -> set[int]:
        """Return the places of the survivors that drew a member as a holder."""
        column = self.rows[:, member // 8] >> (member % 8) & 1
        return {self.survivors[place] for place in np.flatnonzero(column)}
