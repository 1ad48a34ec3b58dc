"""Opacus' gradients are held against autograd's before training, and their sums in every step."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from fl_client.training.gradients import OpacusGradients, SingleGradients, WrongGradients, example_gradients
from fl_client.training.probes import Probe, weights_to_try
from privacy.task.task import FeatureSpec, SequenceSpec
from tests.support.zoo import SPEC, Mean, Reader

LARGE = SequenceSpec(unit="words", vocabulary=4096, length=8)
UNSEEN = 3000
"""A token of no probe."""


class Hidden(nn.Module):
    """Wrong under hooks for one token alone, which no probe has."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(LARGE.vocabulary, 3, padding_idx=UNSEEN)
        self.output = nn.Linear(3, 1)

    def forward(self, numbers: Tensor) -> Tensor:
        logits: Tensor = self.output(torch.tanh(self.table(numbers)).mean(1))
        return logits


def row_of(gradients: list[Tensor], token: int) -> Tensor:
    return gradients[0][:, token]


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_what_no_probe_shows_is_found_in_training_and_computed_again() -> None:
    gradients = example_gradients(Hidden, LARGE)
    assert isinstance(gradients, OpacusGradients)
    plain = Hidden()
    plain.load_state_dict(gradients.module.state_dict())
    numbers = torch.tensor([[UNSEEN, 1, 2, 0, 0, 0, 0, 0], [UNSEEN] * 8])
    with pytest.raises(WrongGradients, match=r"of table.weight \(Embedding\) are not autograd's"):
        gradients.by_hooks(numbers, torch.ones(2))
    for _ in range(2):
        found = gradients.compute(numbers, torch.ones(2))
        expected = SingleGradients(plain, "").compute(numbers, torch.ones(2))
        assert not row_of(found, UNSEEN).any()
        for value, wanted in zip(found, expected, strict=True):
            torch.testing.assert_close(value, wanted)


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_after_a_wrong_step_hooks_go_on_and_hold_nothing_of_it() -> None:
    module, plain = Hidden(), Hidden()
    plain.load_state_dict(module.state_dict())
    gradients = OpacusGradients(module)
    gradients.compute(torch.full((2, 8), UNSEEN), torch.ones(2))
    assert not any(getattr(layer, "activations", []) for layer in module.modules())
    numbers = torch.tensor([[5, 5, 1, 0, 0, 0, 0, 0]])
    found = gradients.by_hooks(numbers, torch.ones(1))
    for value, wanted in zip(found, SingleGradients(plain, "").compute(numbers, torch.ones(1)), strict=True):
        torch.testing.assert_close(value, wanted)


class Exchanging(OpacusGradients):
    """Right sums, of rows that are exchanged."""

    def by_hooks(self, inputs: Tensor, labels: Tensor) -> list[Tensor]:
        return [value.flip(0) for value in super().by_hooks(inputs, labels)]


@pytest.mark.filterwarnings("ignore:Full backward hook")
def test_rows_are_compared_not_their_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fl_client.training.gradients.OpacusGradients", Exchanging)
    found = example_gradients(lambda: Reader(Mean()), SPEC)
    assert found.reason == "one example at a time: Opacus' gradients of table.weight (Embedding) are not autograd's"


class ZeroFirst(nn.Module):
    """Its output begins at zero, so that nothing behind it has a gradient yet."""

    def __init__(self) -> None:
        super().__init__()
        self.signal = nn.Conv1d(1, 2, 3, padding=1, padding_mode="circular")
        self.output = nn.Linear(32, 1)
        nn.init.zeros_(self.output.weight)

    def forward(self, rows: Tensor) -> Tensor:
        logits: Tensor = self.output(self.signal(rows.unsqueeze(1)).flatten(1))
        return logits


def test_errors_behind_a_layer_that_begins_with_zeros_are_found() -> None:
    found = example_gradients(ZeroFirst, FeatureSpec(buckets=16))
    assert found.reason.startswith("one example at a time: Opacus' gradients of signal.weight (Conv1d)")


def test_weights_are_put_back() -> None:
    module = Reader(Mean())
    own = [value.detach().clone() for value in module.parameters()]
    tried = [[value.detach().clone() for value in module.parameters()] for _ in weights_to_try(module)]
    assert len(tried) == 3
    assert all(torch.equal(value, before) for value, before in zip(module.parameters(), own, strict=True))
    assert all(not torch.equal(*pair) for values in zip(*tried, strict=True) for pair in combinations(values, 2))


def test_probes_have_what_texts_have() -> None:
    rows = Probe.of(SPEC).inputs
    assert any(not row.any() for row in rows), "nothing but padding"
    assert any(bool(row.all()) for row in rows), "no padding"
    assert any(len(set(row.tolist()) - {0}) < int((row > 0).sum()) and not row.all() for row in rows), "repeated tokens"
    assert any(SPEC.vocabulary - 1 in row for row in rows), "the last token"


def test_probes_of_large_models_have_few_rows() -> None:
    assert len(Probe.of(FeatureSpec(buckets=1 << 20))) == 3
