from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from fl_client.training.models import (
    UnknownArchitecture,
    build,
    initial_model,
    initial_weights,
    load_flat,
    model_spec,
    register,
    start_weights,
    to_flat,
)
from privacy.release.files import model_digest
from privacy.task.task import FeatureSpec
from tests.support.learning import Tokens, learning_task, mlp, registry_of_its_own

FEATURES = FeatureSpec(buckets=16)


@pytest.fixture(autouse=True)
def registry() -> Iterator[None]:
    with registry_of_its_own():
        register("mlp", mlp)
        register("token-mlp", Tokens)
        yield


def test_an_unknown_name_is_answered_with_the_known_ones() -> None:
    with pytest.raises(UnknownArchitecture, match=r"'hashed-linear', .*'token-mlp', .*\], got 'transformer'"):
        build("transformer", FEATURES)


def test_a_known_name_stands_for_its_module_everywhere() -> None:
    with pytest.raises(ValueError, match="'word-embedding' is that of a model of havenfl's"):
        register("word-embedding", mlp)


def test_a_registered_module_is_built() -> None:
    assert build("mlp", FEATURES)(torch.zeros(3, 16)).shape == (3, 1)


def test_layout_names_every_parameter_in_the_order_of_the_flat_vector() -> None:
    layout = [(parameter.name, parameter.shape) for parameter in model_spec("mlp", FEATURES).parameters]
    assert layout == [
        ("0.weight", (4, 16)),
        ("0.bias", (4,)),
        ("1.weight", (4,)),
        ("1.bias", (4,)),
        ("3.weight", (1, 4)),
        ("3.bias", (1,)),
    ]
    assert model_spec("mlp", FEATURES).dimension == to_flat(build("mlp", FEATURES)).numel() == 81


def test_flat_vector_is_row_major() -> None:
    module = build("mlp", FEATURES)
    load_flat(module, torch.arange(81, dtype=torch.float32))
    assert dict(module.named_parameters())["0.weight"][1, 2] == 18


@pytest.mark.parametrize("architecture", ["hashed-linear", "mlp", "token-mlp"])
def test_flat_round_trip_shares_no_memory(architecture: str) -> None:
    module = build(architecture, FEATURES)
    weights = torch.arange(to_flat(module).numel(), dtype=torch.float32)
    load_flat(module, weights)
    flat = to_flat(module)
    torch.testing.assert_close(flat, weights, rtol=0, atol=0)
    weights += 1
    torch.testing.assert_close(to_flat(module), flat, rtol=0, atol=0)
    flat += 1
    torch.testing.assert_close(to_flat(module), flat - 1, rtol=0, atol=0)
    assert not flat.requires_grad


@pytest.mark.parametrize("length", [80, 82])
def test_a_vector_of_another_length_is_not_loaded(length: int) -> None:
    with pytest.raises(RuntimeError, match="split_sizes"):
        load_flat(build("mlp", FEATURES), torch.zeros(length))


def test_initial_weights_follow_from_the_seed_alone() -> None:
    first = initial_weights("mlp", FEATURES, seed=3)
    torch.rand(5)
    np.testing.assert_array_equal(initial_weights("mlp", FEATURES, seed=3), first)
    assert first.dtype == np.float32
    assert not np.array_equal(initial_weights("mlp", FEATURES, seed=4), first)


def test_initial_weights_leave_torch_as_it_was() -> None:
    before = torch.get_rng_state()
    initial_weights("mlp", FEATURES, seed=3)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("base_rate", [0.01, 0.11, 0.83])
def test_the_first_model_finds_a_text_without_tokens_positive_at_the_stated_base_rate(base_rate: float) -> None:
    features = FEATURES.model_copy(update={"bias_input": 0.2})
    weights = initial_weights("hashed-linear", features, 3, base_rate)
    module = build("hashed-linear", features)
    load_flat(module, torch.from_numpy(weights))
    logit = module(torch.zeros(1, features.buckets))
    assert float(torch.sigmoid(logit.detach())) == pytest.approx(base_rate, rel=1e-5)
    assert not weights[:-1].any()
    stated = initial_model("hashed-linear", features, 3, base_rate)
    assert (stated.digest, stated.base_rate) == (model_digest(weights), base_rate)


@pytest.mark.parametrize(("architecture", "seed", "base_rate"), [("hashed-linear", 3, 0.11), ("mlp", 4, None)])
def test_a_task_starts_at_the_model_of_its_digest(architecture: str, seed: int, base_rate: float | None) -> None:
    initial = initial_model(architecture, FEATURES, seed, base_rate)
    task = learning_task(architecture).model_copy(update={"initial": initial})
    assert model_digest(start_weights(task)) == initial.digest


def test_a_task_whose_first_model_is_in_a_file_is_not_drawn_another() -> None:
    with pytest.raises(ValueError, match=r"initial\.seed: expected a number, got none"):
        start_weights(learning_task())


def test_a_base_rate_for_a_model_whose_intercept_cannot_stand_for_it_is_refused() -> None:
    with pytest.raises(
        UnknownArchitecture, match=r"base_rate: expected it with hashed-linear alone, got it with 'mlp'"
    ):
        initial_weights("mlp", FEATURES, 3, 0.1)


def test_hashed_linear_starts_at_zero() -> None:
    np.testing.assert_array_equal(initial_weights("hashed-linear", FEATURES, seed=3), np.zeros(17, np.float32))
