"""Modules that cannot be trained privately or repeatably are refused before anything is trained."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor, nn

from fl_client.training.models import UnknownArchitecture, build, model_spec, register
from fl_client.training.soundness import draws
from fl_client.training.training import LocalTrainer
from privacy.task.task import FeatureSpec, SequenceSpec
from simulations.randomness import SeedTree
from tests.support.learning import examples, learning_task, registry_of_its_own

WIDTH = 16
FEATURES = FeatureSpec(buckets=WIDTH)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    with registry_of_its_own():
        yield


class Linear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(WIDTH, 1)

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.layer(rows)
        return logits


class Remembering(Linear):
    """Its buffer takes what one device wrote to the next."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(WIDTH))

    def forward(self, rows: Tensor) -> Tensor:
        self.seen += rows.detach().sum(0)
        return super().forward(rows + self.seen)


class Attribute(Linear):
    """Remembers where no buffer shows it."""

    last = 0.0

    def forward(self, rows: Tensor) -> Tensor:
        before, self.last = self.last, float(rows.detach()[:1].argmax()) if len(rows) else 0.0
        return super().forward(rows) + before


class RandomBuffer(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("offset", torch.randn(1))


class Python(Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows) * random.random()  # noqa: S311 - what is tested is that it is refused


class Mixing(Linear):
    """What batch normalisation does, written by hand."""

    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows - rows.mean(0, keepdim=True))


class AlwaysDrawing(Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(nn.functional.dropout(rows, 0.5))


class Frozen(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.layer.bias.requires_grad_(False)


class Sharing(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.again = nn.Parameter(self.layer.weight.data)


class Unused(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(2, 2)


class Whole(Linear):
    def __init__(self) -> None:
        super().__init__()
        self.places = nn.Parameter(torch.arange(4), requires_grad=False)


class NotFinite(Linear):
    def __init__(self) -> None:
        super().__init__()
        nn.init.constant_(self.layer.bias, float("nan"))


class Failing(Linear):
    def forward(self, rows: Tensor) -> Tensor:
        raise ZeroDivisionError(f"forward\nof {len(rows)} rows")


def logits_of(change: Callable[[Tensor], object]) -> type[Linear]:
    class Changed(Linear):
        def forward(self, rows: Tensor) -> Tensor:
            return change(super().forward(rows))  # type: ignore[return-value]

    return Changed


class Rooted(Linear):
    def forward(self, rows: Tensor) -> Tensor:
        return super().forward(rows).square().sqrt()  # of infinite slope where the logit is zero


def any_width() -> nn.Module:
    hidden = int(torch.randint(2, 1000, ()))
    return nn.Sequential(nn.Linear(WIDTH, hidden), nn.Linear(hidden, 1))


def starting_at_zero(make: type[Linear]) -> Callable[[], nn.Module]:
    def made() -> nn.Module:
        module = make()
        nn.init.zeros_(module.layer.weight)
        nn.init.zeros_(module.layer.bias)
        return module

    return made


def failing_factory() -> nn.Module:
    raise KeyError("hidden_size")


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (Remembering, "seen changes when the module reads examples"),
        (lambda: nn.Sequential(nn.Unflatten(1, (1, -1)), nn.InstanceNorm1d(1, track_running_stats=True), nn.Flatten(),
                               Linear()), "running_mean changes when the module reads"),
        (Attribute, "its output differs for the same rows and seed"),
        (Python, "its output differs for the same rows and seed"),
        (RandomBuffer, "buffer offset is another each time it is made"),
        (any_width, "other shapes each time it is made"),
        (Mixing, "its logit for a row depends on the other rows"),
        (AlwaysDrawing, "it draws random numbers outside training too"),
        (Frozen, "parameter layer.bias is frozen"),
        (Sharing, "two parameters share memory"),
        (Unused, "parameter other.weight has no part in the output"),
        (Whole, "parameter places is int64; expected float32"),
        (lambda: Linear().double(), "parameter layer.weight is float64; expected float32"),
        (NotFinite, "parameter layer.bias starts with NaN or infinity"),
        (lambda: nn.LazyLinear(1), "parameter weight has no shape yet"),
        (nn.Identity, "expected parameters to train, got none"),
        (lambda: nn.ParameterList([torch.zeros(0, 3)]), "parameter 0 is empty"),
        (logits_of(lambda logits: logits > 0), r"expected float32\[6, 1\] logits for 6 rows, got bool\[6, 1\]"),
        (logits_of(lambda logits: logits.squeeze(1)), r"got float32\[6\]"),
        (logits_of(lambda logits: (logits, None)), "got tuple"),
        (lambda: nn.Linear(WIDTH, 2), r"got float32\[6, 2\]"),
        (Failing, "it cannot be run: ZeroDivisionError: forward$"),
        (lambda: nn.Linear(WIDTH + 1, 1), "it cannot be run: RuntimeError"),
        (starting_at_zero(Rooted), "gradient of parameter layer.weight is NaN or infinite for a text, as it begins"),
        (failing_factory, "its factory failed, KeyError: 'hidden_size'"),
        (lambda: 3, "expected a torch.nn.Module, got int"),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_trained_as_accounted_is_refused(make: Callable[[], nn.Module], reason: str) -> None:
    register("own", lambda _: make())
    with pytest.raises(UnknownArchitecture, match=f"'own': .*{reason}"):
        model_spec("own", FEATURES)


class Tied(nn.Module):
    """One weight in two places, and a scalar."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.second.weight = self.first.weight
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.register_buffer("fixed", torch.ones(WIDTH))

    def forward(self, rows: Tensor) -> Tensor:
        return self.scale * self.second(torch.tanh(self.first(rows + self.fixed))).sum(1, keepdim=True)


def test_what_is_sound_is_not_refused() -> None:
    register("own", lambda _: Tied().eval())
    assert model_spec("own", FEATURES).dimension == WIDTH * WIDTH + 2 * WIDTH + 1
    assert build("own", FEATURES).training
    for name, spec in (("word-embedding", "words"), ("character-cnn", "characters")):
        model_spec(name, SequenceSpec(unit=spec, vocabulary=16, length=8))  # type: ignore[arg-type]


def test_checking_leaves_torch_as_it_was() -> None:
    register("own", lambda _: Tied())
    before = torch.get_rng_state()
    model_spec("own", FEATURES)
    assert torch.equal(torch.get_rng_state(), before)


def test_dropout_follows_from_the_devices_own_randomness() -> None:
    register("own", lambda features: nn.Sequential(nn.Dropout(0.5), nn.Linear(features.buckets, 1)))
    task = learning_task("own", steps=3)
    trainer, data = LocalTrainer(task), examples([[1.0] * WIDTH, [0.5] * WIDTH], [0, 1])
    weights = torch.zeros(task.model.dimension).numpy()

    def result(seed: int) -> bytes:
        torch.rand(seed + 1)  # what others drew meanwhile
        return trainer.train(weights, data, SeedTree.root(seed).stream()).delta.tobytes()

    assert draws(build("own", FEATURES), FEATURES)
    assert not draws(Linear(), FEATURES)
    assert result(1) == result(1)
    assert result(1) != result(2)
