"""Modules of many kinds, each with what must become of it: trained right, or refused with a reason."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from opacus.layers import DPGRU, DPLSTM, DPRNN, DPMultiheadAttention
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize

from privacy.task.task import SequenceSpec

SPEC = SequenceSpec(unit="words", vocabulary=24, length=8)
WIDTH = 4

Factory = Callable[[SequenceSpec], nn.Module]


class Reader(nn.Module):
    """Vectors of tokens, something in between, their mean, a logit."""

    def __init__(self, between: nn.Module, width: int = WIDTH, table: nn.Module | None = None) -> None:
        super().__init__()
        self.table = table or nn.Embedding(SPEC.vocabulary, WIDTH)
        self.between = between
        self.output = nn.Linear(width, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        logits: Tensor = self.output(self.between(self.table(numbers)).flatten(1))
        return logits


class Mean(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        return torch.tanh(vectors).mean(1)


class Channels(nn.Module):
    """Channels first, for convolutions and their like."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.transpose(1, 2)


class Plane(nn.Module):
    """The vectors as one picture of one channel."""

    def forward(self, vectors: Tensor) -> Tensor:
        return vectors.unsqueeze(1)


class Last(nn.Module):
    """What a recurrent layer gives at the last token."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, vectors: Tensor) -> Tensor:
        outputs: Tensor = self.layer(vectors)[0]
        return outputs[:, -1]


class Attended(nn.Module):
    def __init__(self, layer: nn.Module, *, batch_first: bool) -> None:
        super().__init__()
        self.layer = layer
        self.batch_first = batch_first

    def forward(self, vectors: Tensor) -> Tensor:
        given = vectors if self.batch_first else vectors.transpose(0, 1)
        mixed: Tensor = self.layer(given, given, given)[0]
        return (mixed if self.batch_first else mixed.transpose(0, 1)).mean(1)


class Twice(nn.Module):
    """One layer, two times in a row."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.tanh(self.layer(torch.tanh(self.layer(vectors)))).mean(1)


class TiedLayers(nn.Module):
    """Two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight

    def forward(self, vectors: Tensor) -> Tensor:
        return self.second(torch.tanh(self.first(vectors))).mean(1)


class Own(nn.Module):
    """A parameter that is no layer's."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(WIDTH))
        self.shift = nn.Parameter(torch.zeros(()))

    def forward(self, vectors: Tensor) -> Tensor:
        return torch.tanh(vectors * self.scale + self.shift).mean(1)


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Bilinear(WIDTH, WIDTH, WIDTH)

    def forward(self, vectors: Tensor) -> Tensor:
        mixed: Tensor = self.layer(vectors, vectors.flip(1))
        return mixed.mean(1)


class Selected(nn.Module):
    """A layer that only reads the batch's rows with a certain token; the others go by it."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)

    def forward(self, vectors: Tensor) -> Tensor:
        pooled = vectors.mean(1)
        chosen = pooled[:, :1] > 0
        return torch.where(chosen, self.layer(pooled), pooled) if bool(chosen.any()) else pooled


class Centred(nn.Module):
    """Looks at the batch as a whole."""

    def forward(self, vectors: Tensor) -> Tensor:
        pooled = vectors.mean(1)
        return pooled - pooled.mean(0, keepdim=True)


class Ranked(nn.Module):
    """Looks at the batch as a whole, and hides it from the gradients."""

    def forward(self, vectors: Tensor) -> Tensor:
        pooled = vectors.mean(1)
        return pooled / (1 + pooled.abs().max(0, keepdim=True).values.detach())


class GradientOfOthers(torch.autograd.Function):
    """Its values are a row's own, its gradients are not."""

    @staticmethod
    def forward(vectors: Tensor) -> Tensor:
        return vectors.clone()

    @staticmethod
    def setup_context(ctx: object, inputs: tuple[Tensor], output: Tensor) -> None: ...

    @staticmethod
    def backward(ctx: object, gradients: Tensor) -> Tensor:  # type: ignore[override]  # noqa: ARG004
        return gradients.roll(1, 0)


class Crossed(nn.Module):
    def forward(self, vectors: Tensor) -> Tensor:
        mixed: Tensor = GradientOfOthers.apply(vectors).mean(1)
        return mixed


class TiedTable(nn.Module):
    """The table is the last layer's weight too, as language models have it."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(SPEC.vocabulary, WIDTH)

    def forward(self, numbers: Tensor) -> Tensor:
        hidden = torch.tanh(self.table(numbers)).mean(1)
        return nn.functional.linear(hidden, self.table.weight).logsumexp(1, keepdim=True)


class Bags(nn.Module):
    def __init__(self, mode: str) -> None:
        super().__init__()
        self.table = nn.EmbeddingBag(SPEC.vocabulary, WIDTH, mode=mode)
        self.output = nn.Linear(WIDTH, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.tanh(self.table(numbers)))
        return logits


class Distance(nn.Module):
    """A root at zero: infinite slope on a text without tokens."""

    def forward(self, vectors: Tensor) -> Tensor:
        return (vectors - vectors[:, :1]).pow(2).sum(1).sqrt()


class Doubled(nn.Module):
    def forward(self, matrix: Tensor) -> Tensor:
        return 2 * matrix


def reader(*between: nn.Module, width: int = WIDTH) -> Factory:
    """A factory of a module; each call makes layers anew, by their own initialisation."""

    def make(_: SequenceSpec) -> nn.Module:
        fresh = [copy.deepcopy(layer) for layer in between]
        for layer in fresh:
            for part in layer.modules():
                if hasattr(part, "reset_parameters"):
                    part.reset_parameters()
        return Reader(nn.Sequential(*fresh), width)

    return make


def table(**options: object) -> Factory:
    return lambda _: Reader(Mean(), table=nn.Embedding(SPEC.vocabulary, WIDTH, **options))


def convolution(**options: object) -> Factory:
    return lambda _: Reader(
        nn.Sequential(Channels(), nn.Conv1d(WIDTH, 3, 3, **options), nn.Tanh(), nn.AdaptiveAvgPool1d(1)), 3
    )


def normalised(layer: Callable[[], nn.Module], *, channels: bool) -> Factory:
    def make(_: SequenceSpec) -> nn.Module:
        before, after = (Channels(), Channels()) if channels else (nn.Identity(), nn.Identity())
        return Reader(nn.Sequential(before, layer(), after, Mean()))

    return make


def last(layer: Callable[[], nn.Module], width: int = 3) -> Factory:
    return lambda _: Reader(Last(layer()), width)


def frozen_part(_: SequenceSpec) -> nn.Module:
    module = Reader(Mean())
    module.table.weight.requires_grad_(False)
    return module


def unused_part(_: SequenceSpec) -> nn.Module:
    module = Reader(Mean())
    module.other = nn.Linear(2, 2)
    return module


def shared_memory(_: SequenceSpec) -> nn.Module:
    module = Reader(Own())
    module.again = nn.Parameter(module.output.weight.data)
    return module


def parametrised(change: Callable[[nn.Module], nn.Module]) -> Factory:
    return lambda _: Reader(nn.Sequential(change(nn.Linear(WIDTH, WIDTH)), Mean()))


def doubled(layer: nn.Module) -> nn.Module:
    parametrize.register_parametrization(layer, "weight", Doubled())
    return layer


TRAINED: dict[str, Factory] = {
    "embedding": table(),
    "embedding, padding 0": table(padding_idx=0),
    "embedding, padding 5": table(padding_idx=5),
    "embedding, sparse gradients": table(sparse=True),
    "embedding bag, sum": lambda _: Bags("sum"),
    "embedding bag, mean": lambda _: Bags("mean"),
    "embedding bag, max": lambda _: Bags("max"),
    "table tied to the output": lambda _: TiedTable(),
    "layers tied": lambda _: Reader(TiedLayers()),
    "layer used twice": lambda _: Reader(Twice()),
    "parameter of its own": lambda _: Reader(Own()),
    "layer for some rows": lambda _: Reader(Selected()),
    "linear without bias": reader(nn.Linear(WIDTH, WIDTH, bias=False), Mean()),
    "bilinear": lambda _: Reader(Bilinear()),
    "prelu": reader(nn.PReLU(), Mean()),
    "prelu, one a channel": lambda _: Reader(nn.Sequential(Channels(), nn.PReLU(WIDTH), Channels(), Mean())),
    "convolution": convolution(),
    "convolution, zeros": convolution(padding=2),
    "convolution, same": convolution(padding="same"),
    "convolution, reflect": convolution(padding=2, padding_mode="reflect"),
    "convolution, replicate": convolution(padding=2, padding_mode="replicate"),
    "convolution, circular": convolution(padding=2, padding_mode="circular"),
    "convolution, same, circular": convolution(padding="same", padding_mode="circular"),
    "convolution, strided": convolution(stride=2),
    "convolution, dilated": convolution(dilation=2),
    "convolution, without bias": convolution(bias=False),
    "convolution, grouped": lambda _: Reader(
        nn.Sequential(Channels(), nn.Conv1d(WIDTH, WIDTH, 3, groups=2), nn.AdaptiveAvgPool1d(1))
    ),
    "convolution in 2d": lambda _: Reader(
        nn.Sequential(Plane(), nn.Conv2d(1, 3, 3), nn.ReLU(), nn.AdaptiveMaxPool2d(1)), 3
    ),
    "convolution in 2d, reflect": lambda _: Reader(
        nn.Sequential(Plane(), nn.Conv2d(1, 3, 3, padding=1, padding_mode="reflect"), nn.AdaptiveAvgPool2d(1)), 3
    ),
    "transposed convolution": lambda _: Reader(
        nn.Sequential(Channels(), nn.ConvTranspose1d(WIDTH, 3, 3, stride=2), nn.Tanh(), nn.AdaptiveAvgPool1d(1)), 3
    ),
    "layer norm": normalised(lambda: nn.LayerNorm(WIDTH), channels=False),
    "layer norm without bias": normalised(lambda: nn.LayerNorm(WIDTH, bias=False), channels=False),
    "layer norm, not affine": normalised(lambda: nn.LayerNorm(WIDTH, elementwise_affine=False), channels=False),
    "layer norm over two": normalised(lambda: nn.LayerNorm((SPEC.length, WIDTH)), channels=False),
    "rms norm": normalised(lambda: nn.RMSNorm(WIDTH), channels=False),
    "group norm": normalised(lambda: nn.GroupNorm(2, WIDTH), channels=True),
    "group norm, not affine": normalised(lambda: nn.GroupNorm(2, WIDTH, affine=False), channels=True),
    "instance norm": normalised(lambda: nn.InstanceNorm1d(WIDTH), channels=True),
    "instance norm, affine": normalised(lambda: nn.InstanceNorm1d(WIDTH, affine=True), channels=True),
    "gru": last(lambda: nn.GRU(WIDTH, 3, batch_first=True)),
    "rnn": last(lambda: nn.RNN(WIDTH, 3, batch_first=True)),
    "lstm": last(lambda: nn.LSTM(WIDTH, 3, batch_first=True)),
    "lstm, two layers, both ways": last(
        lambda: nn.LSTM(WIDTH, 3, num_layers=2, bidirectional=True, batch_first=True), 6
    ),
    "Opacus' gru": last(lambda: DPGRU(WIDTH, 3, batch_first=True)),
    "Opacus' rnn": last(lambda: DPRNN(WIDTH, 3, batch_first=True)),
    "Opacus' lstm": last(lambda: DPLSTM(WIDTH, 3, batch_first=True)),
    "attention": lambda _: Reader(Attended(nn.MultiheadAttention(WIDTH, 2, batch_first=True), batch_first=True)),
    "attention, tokens first": lambda _: Reader(Attended(nn.MultiheadAttention(WIDTH, 2), batch_first=False)),
    "Opacus' attention": lambda _: Reader(Attended(DPMultiheadAttention(WIDTH, 2), batch_first=False)),
    "transformer layer": lambda _: Reader(
        nn.Sequential(nn.TransformerEncoderLayer(WIDTH, 2, 8, dropout=0.0, batch_first=True), Mean())
    ),
    "weight norm": parametrised(parametrizations.weight_norm),
    "weight norm, the old way": parametrised(nn.utils.weight_norm),
    "a parametrisation of one's own": parametrised(doubled),
    "dropout": reader(nn.Dropout(0.5), nn.Linear(WIDTH, WIDTH), Mean()),
    "dropout before a layer norm without bias": reader(nn.Dropout(0.5), nn.LayerNorm(WIDTH, bias=False), Mean()),
    "alpha dropout": reader(nn.AlphaDropout(0.3), nn.Linear(WIDTH, WIDTH), Mean()),
    "channel dropout": lambda _: Reader(nn.Sequential(Channels(), nn.Dropout1d(0.5), Channels(), Mean())),
    "a constant buffer": lambda _: Reader(nn.Sequential(Buffered(), Mean())),
}
"""By what they are; all read SPEC."""


class Buffered(nn.Module):
    """Trained, and with a buffer that never changes."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, WIDTH)
        self.register_buffer("fixed", torch.linspace(-1, 1, WIDTH))
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, vectors: Tensor) -> Tensor:
        mixed: Tensor = self.layer(vectors * self.fixed) * self.scale
        return mixed


REFUSED: dict[str, tuple[Factory, str]] = {
    "batch norm": (normalised(lambda: nn.BatchNorm1d(WIDTH), channels=True), "changes when the module reads"),
    "batch norm without memory": (
        normalised(lambda: nn.BatchNorm1d(WIDTH, track_running_stats=False), channels=True),
        "depends on the other rows",
    ),
    "instance norm with memory": (
        normalised(lambda: nn.InstanceNorm1d(WIDTH, track_running_stats=True), channels=True),
        "running_mean changes when the module reads",
    ),
    "batch norm after dropout": (
        reader(nn.Dropout(0.5), Channels(), nn.BatchNorm1d(WIDTH, track_running_stats=False), Channels(), Mean()),
        "depends on the other rows",
    ),
    "centred over the batch": (lambda _: Reader(Centred()), "depends on the other rows"),
    "divided by the batch's largest": (lambda _: Reader(Ranked()), "depends on the other rows"),
    "gradients of other rows": (lambda _: Reader(Crossed()), "gradient of parameter .* depends on the other rows"),
    "embedding, gradients by frequency": (table(scale_grad_by_freq=True), "gradient .* depends on the other rows"),
    "embedding, vectors held short": (table(max_norm=1.0), "table.weight changes when the module reads"),
    "embedding, vectors held to a large norm": (table(max_norm=50.0), "table.weight changes when the module reads"),
    "spectral norm": (parametrised(parametrizations.spectral_norm), "changes when the module reads|another each time"),
    "spectral norm, the old way": (parametrised(nn.utils.spectral_norm), "changes when|another each time"),
    "orthogonal": (parametrised(parametrizations.orthogonal), "base is another each time it is made"),
    "attention over the batch": (
        lambda _: Reader(Attended(nn.MultiheadAttention(WIDTH, 2), batch_first=True)),
        "depends on the other rows",
    ),
    "recurrent over the batch": (last(lambda: nn.GRU(WIDTH, 3)), "depends on the other rows"),
    "a root at zero": (lambda _: Reader(Distance()), "is NaN or infinite for a text"),
    "frozen": (frozen_part, "table.weight is frozen"),
    "unused": (unused_part, "other.weight has no part in the output"),
    "shared memory": (shared_memory, "two parameters share memory"),
    "lazy": (lambda _: nn.Sequential(nn.Embedding(SPEC.vocabulary, WIDTH), nn.LazyLinear(1)), "has no shape yet"),
    "double": (lambda _: Reader(Mean()).double(), "float64; expected float32"),
    "one logit a token": (lambda _: nn.Sequential(nn.Embedding(SPEC.vocabulary, 4), nn.Linear(4, 1)), "expected float"),
}
"""By what they are, with what the refusal says."""
