"""Embedding tables of which a device touches few rows: each device trains a table of its own rows.

Only lookups of the very token numbers that the model is given can be packed; others stay parameters like any other.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csc_array
from torch import Tensor, nn

from fl_client.training.models import build
from privacy.task.task import SequenceSpec, TaskSpec
from simulations.training.engines.chunks import Chunk

Parameters = dict[str, Tensor]


class _Handed(nn.Module):
    """A stand-in for an embedding that gives back the vectors that the engine hands in."""

    def __init__(self) -> None:
        super().__init__()
        self.vectors = torch.empty(0)

    def forward(self, numbers: Tensor) -> Tensor:  # noqa: ARG002 - they are looked up before
        return self.vectors


@dataclass(frozen=True, eq=False)
class Lookups:
    """A module without its large embeddings.

    Attributes:
        module: what is left of it.
        names: the parameters that were taken out.
    """

    module: nn.Module = field(repr=False)
    names: Sequence[str]
    _handed: Sequence[_Handed] = field(repr=False)

    @classmethod
    def of(cls, task: TaskSpec) -> Lookups:
        """Take out all embeddings of the task's model that read its token numbers as they are, and do nothing else."""
        module = build(task.model.architecture, task.features)
        if isinstance(task.features, SequenceSpec) and (names := _direct(module, task.features)):
            tables = [module.get_submodule(name) for name in names]
            lookups = cls._without(module, names)
            if lookups._runs(
                task.features, [table.embedding_dim for table in tables if isinstance(table, nn.Embedding)]
            ):
                return lookups
            module = build(task.model.architecture, task.features)
        return cls._without(module, [])

    @classmethod
    def _without(cls, module: nn.Module, names: Sequence[str]) -> Lookups:
        for name in names:
            parent, _, last = name.rpartition(".")
            setattr(module.get_submodule(parent), last, _Handed())
        return cls(module, [f"{name}.weight" for name in names], [_handed(module, name) for name in names])

    def _runs(self, features: SequenceSpec, widths: Sequence[int]) -> bool:
        """Tell whether what is left gets by without the tables: a weight may be used beside its lookup."""
        self.hand([torch.zeros(2, features.length, width) for width in widths])
        try:
            with torch.no_grad():
                self.module(torch.ones(2, features.length, dtype=torch.int64))
        except AttributeError:
            return False
        return True

    def hand(self, vectors: Sequence[Tensor]) -> None:
        """Set what the embeddings give in the next call: float32[..., length, width] for each."""
        for place, given in zip(self._handed, vectors, strict=True):
            place.vectors = given


@dataclass(frozen=True, eq=False)
class Packed:
    """The rows of a table that a chunk of devices touches, device after device.

    Attributes:
        rows: int64[r], each one's row of the whole table.
        owners: int64[r], each one's device.
        local: int64[n + 1, length], where among them each token's row is.
    """

    rows: Tensor = field(repr=False)
    owners: Tensor = field(repr=False)
    local: Tensor = field(repr=False)

    @classmethod
    def of(cls, chunk: Chunk, vocabulary: int) -> Packed:
        """Find the rows of the n examples of a chunk, and of the empty one."""
        devices, on = len(chunk.participants), chunk.device
        owners = np.repeat(np.arange(devices), np.diff(chunk.first))
        numbers = chunk.inputs.dense()
        numbers[:-1] += (owners * vocabulary)[:, None]
        keys = torch.from_numpy(numbers).to(on)
        touched = torch.zeros(devices * vocabulary, dtype=torch.bool, device=on)
        touched[keys.ravel()] = True
        packed = touched.nonzero().ravel()
        places = torch.empty(devices * vocabulary, dtype=torch.int64, device=on)
        places[packed] = torch.arange(packed.numel(), device=on)
        return cls(packed % vocabulary, packed // vocabulary, places[keys])

    def cpu(self) -> Packed:
        """Return a copy on the CPU."""
        return Packed(self.rows.cpu(), self.owners.cpu(), self.local.cpu())


@dataclass(frozen=True, eq=False)
class Moved:
    """The changes of a chunk of D devices.

    Attributes:
        order: names of all parameters, as the flat vector holds them.
        held: float32[D, ...] for each parameter that every device has a copy of.
        rows: float32[r, width] for each embedding, of the rows that `packed` lists.
        packed: which rows of the embeddings changed; None where none was taken out.
    """

    order: Sequence[str]
    held: Parameters = field(repr=False)
    rows: Parameters = field(repr=False)
    packed: Packed | None = field(repr=False)

    def whole(self, start: Parameters) -> Iterator[Tensor]:
        """Yield each device's change, float32[d].

        Args:
            start: the model that all started from.
        """
        devices = next(iter(self.held.values())).shape[0]
        for place in range(devices):
            yield torch.cat([self._of(name, place, start[name]).ravel() for name in self.order])

    def norms(self) -> list[float]:
        """Return the L2 norm of each device's change."""
        squared = sum((value.double().reshape(len(value), -1) ** 2).sum(1) for value in self.held.values())
        total = torch.as_tensor(squared)
        for rows in self.rows.values():
            total = total.index_add(0, self._packed.owners, (rows.double() ** 2).sum(1))
        return [float(norm) for norm in total.sqrt()]

    def add(self, scales: NDArray[np.float64], shapes: Mapping[str, tuple[int, ...]], sums: NDArray[np.int64]) -> None:
        """Add what device i changed, times scales[i] and rounded; nothing of those whose scale is 0.

        Args:
            scales: float64[D].
            shapes: the parameters' shapes by name.
            sums: int64[d], added to in place.
        """
        first = 0
        for name in self.order:
            size = math.prod(shapes[name])
            place = sums[first : first + size]
            if name in self.held:
                place += _rounded(self.held[name].reshape(len(scales), -1), scales).sum(axis=0)
            else:
                owners, rows = self._packed.owners.numpy(), self._packed.rows.numpy()
                moved = _rounded(self.rows[name], scales[owners])
                table = place.reshape(shapes[name])
                ones = csc_array(
                    (np.ones(rows.size, np.int64), rows, np.arange(rows.size + 1)), (len(table), rows.size)
                )
                table += np.asarray(ones @ moved)
            first += size

    @property
    def _packed(self) -> Packed:
        if self.packed is None:
            raise TypeError("rows: expected to know which")
        return self.packed

    def _of(self, name: str, place: int, start: Tensor) -> Tensor:
        if name in self.held:
            return self.held[name][place]
        whole, own = torch.zeros_like(start), self._packed.owners == place
        whole[self._packed.rows[own]] = self.rows[name][own]
        return whole


def _rounded(values: Tensor, scales: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return row i times scales[i], rounded; zeros where the scale is 0, whatever the row is."""
    scaled = np.where(scales[:, None] > 0, values.double().numpy() * scales[:, None], 0.0)
    return np.rint(scaled).astype(np.int64)


def subtract_rows(table: Tensor, places: Tensor, gradients: Tensor, rate: float) -> None:
    """Do table[places[i]] -= rate * gradients[i]: on the CPU a sparse product, ten times faster than `index_add_`.

    Args:
        table: float32[rows, width], changed in place.
        places: int64[n]; a row may occur several times.
        gradients: n vectors, float32[..., width].
        rate: the learning rate.
    """
    count = places.numel()
    if table.is_cuda:
        table.index_add_(0, places, gradients.reshape(count, -1), alpha=-rate)
        return
    rates = np.full(count, rate, np.float32)
    chosen = csc_array((rates, places.numpy(), np.arange(count + 1)), shape=(table.shape[0], count))
    table.sub_(torch.from_numpy(chosen @ gradients.reshape(count, -1).numpy()))


def _direct(module: nn.Module, features: SequenceSpec) -> list[str]:
    """Return the names of the embeddings that look up the very numbers that the module is given, found by trying."""
    numbers = torch.ones(2, features.length, dtype=torch.int64)
    direct: dict[str, bool] = {}

    def note(name: str, given: Tensor) -> None:
        direct[name] = direct.get(name, True) and given is numbers

    hooks = [
        layer.register_forward_pre_hook(lambda _, given, name=name: note(name, given[0]))
        for name, layer in module.named_modules()
        if type(layer) is nn.Embedding and layer.padding_idx is None and layer.max_norm is None
    ]
    with torch.no_grad():
        module(numbers)
    for hook in hooks:
        hook.remove()
    return [name for name, whether in direct.items() if whether and not _tied(module, f"{name}.weight")]


def _tied(module: nn.Module, name: str) -> bool:
    weight = module.get_parameter(name)
    return sum(other is weight for _, other in module.named_parameters(remove_duplicate=False)) > 1


def _handed(module: nn.Module, name: str) -> _Handed:
    layer = module.get_submodule(name)
    if not isinstance(layer, _Handed):
        raise TypeError(f"{name}: expected the embedding to have been replaced")
    return layer
