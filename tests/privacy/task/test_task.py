from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from pydantic import ValidationError

from privacy.base.signing import Signer
from privacy.task.task import (
    AggregationPolicy,
    BoundedParticipation,
    DeviceMechanism,
    FeatureSpec,
    PoissonParticipation,
    SimulationOnly,
    Statistic,
    TaskError,
    TaskSpec,
    largest_draw,
    open_task,
    sign_task,
)
from tests.support.tasks import make_extrapolated_task, make_task

OPERATOR = Signer.from_seed(bytes(range(32)))
SIGNED = sign_task(make_task(), OPERATOR)
COUNT, LOSS = (
    Statistic(name="examples", bound=50.0, sensitivity_fraction=0.75),
    Statistic(name="loss", bound=4.0, sensitivity_fraction=1.0),
)


def test_round_trip_keeps_the_identity() -> None:
    opened = open_task(SIGNED, OPERATOR.public)
    assert opened == make_task()
    assert opened.id == make_task().id


@pytest.mark.parametrize(
    "change",
    [
        {"mechanism": DeviceMechanism(clip=1.0, noise_multiplier=1.01)},
        {"statistics": (COUNT,)},
        {"aggregation": AggregationPolicy(corrupt_fraction=0.05, max_dropouts=3, min_survivors=5, modulus_bits=16)},
        {"rounds": 11},
    ],
)
def test_every_field_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert make_task(**change).id != make_task().id


def test_a_copy_has_an_identity_of_its_own() -> None:
    task = make_task()
    kept, copied, deep = task.id, task.with_clip(0.25), task.model_copy(update={"rounds": 11}, deep=True)
    assert len({kept, copied.id, deep.id}) == 3
    assert copied.with_clip(task.mechanism.clip).id == kept


def test_an_identity_once_computed_changes_nothing_else() -> None:
    task, fresh = make_task(), make_task()
    before = task.canonical()
    assert task.id == fresh.id == copy.deepcopy(task).id
    assert task.canonical() == before
    assert (task, hash(task), repr(task)) == (make_task(), hash(make_task()), repr(make_task()))


@pytest.mark.parametrize(
    ("ours", "theirs", "named"),
    [
        (b',"version":2,"word_ngrams"', b',"word_ngrams"', "version: expected 2, got none"),
        (b'"unicode":"17.0.0"', b'"unicode":"16.0.0"', "unicode"),
        (b'"version":2', b'"version":3', "version"),
    ],
)
def test_features_of_another_version_are_refused_by_name(ours: bytes, theirs: bytes, named: str) -> None:
    """The first is as tasks were with version 1 of the features."""
    body = make_task().canonical()
    changed = body.replace(ours, theirs, 1)
    assert changed != body
    with pytest.raises(TaskError, match=named):
        open_task(OPERATOR.sign("havenfl/task/2", changed) + changed, OPERATOR.public)


def test_the_order_of_statistics_is_part_of_the_identity() -> None:
    assert make_task(statistics=(COUNT, LOSS)).id != make_task(statistics=(LOSS, COUNT)).id


_BODY = (
    b'{"aggregation":{"corrupt_fraction":0.05,"failure_bits":30,"max_dropouts":3,"min_survivors":4,"modulus_bits":32,'
    b'"security_bits":40,"shards":1},"budget":{"delta":0.00001,"epsilon":%s,"window":null},"features":{"bias_input":0.3,'
    b'"buckets":16,"char_ngrams":[3,5],"compact_ngrams":[1,4],"kind":"ngrams","max_characters":4096,'
    b'"unicode":"17.0.0","version":2,"word_ngrams":[1,2]},"fleet":%s,"initial":{"base_rate":null,'
    b'"digest":'
    b'"66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925","seed":null},"mechanism":{"adaptive":null,"clip":1,'
    b'"correlation":null,"noise_multiplier":%s},"model":{"architecture":"test","parameters":[{"name":"weight",'
    b'"shape":[8]}]},"name":"abuse","notice":{"contact":"",'
    b'"data":"","data_from":null,"data_until":null},"optimiser":{"learning_rate":1,"momentum":0.5},'
    b'"participation":{"drawn_by":"server","kind":"poisson","population":100,'
    b'"sampling_rate":0.1},"population":"test-population","purpose":"training","randomness":"seeded","rounds":10,'
    b'"statistics":[],"training":{"expected_batch":8,"kind":"dp-sgd","learning_rate":1,"message_clip":1,'
    b'"message_noise":0,"sampling_rate":1,"steps":1},"trusted_aggregator":%s,"version":2}'
)
_FLEET = (
    b'{"aggregation":{"corrupt_fraction":0.05,"failure_bits":30,"max_dropouts":3,"min_survivors":4,"modulus_bits":32,'
    b'"security_bits":40,"shards":2},"epsilon":8,"noise_multiplier":1,"participation":{"drawn_by":"server",'
    b'"kind":"poisson","population":1000000,"sampling_rate":0.0005},"population":1000000}'
)
_REAL, _SCALED = (b"8", b"null", b"1"), (b"null", _FLEET, b"0.0282842712474619")


@pytest.mark.parametrize(
    ("task", "body", "identity"),
    [
        (
            make_task(),
            _BODY % (*_REAL, b"false"),
            "75835384cbcdfc637c5bf812e6f37c72c2d9f2c32272a8e8a612972e1d4e385e",
        ),
        (
            make_task(simulation=SimulationOnly(trusted_aggregator=True)),
            _BODY % (*_REAL, b"true"),
            "7fa830cdb5c6e00cce83cd710b9bbdf38b632c5503ac4a8ec45c211a4da10eff",
        ),
        (
            make_extrapolated_task(),
            _BODY % (*_SCALED, b"false"),
            "e98feb0a4ca658fdbcfc661e138a8afea65844a2e879ab7426619f5f528d0217",
        ),
        (
            make_extrapolated_task(trusted=True),
            _BODY % (*_SCALED, b"true"),
            "ea604a44a2c68c5a49fb723a06d072b5431d37609fa0aa4ac9b2adf46b319fbe",
        ),
    ],
    ids=["real", "trusted aggregator", "fleet", "both"],
)
def test_bytes_and_identity_have_no_block_for_simulations(task: TaskSpec, body: bytes, identity: str) -> None:
    """They are those of before there was one."""
    assert (task.canonical(), task.id) == (body, identity)
    assert open_task(sign_task(task, OPERATOR), OPERATOR.public) == task == TaskSpec.model_validate(task.model_dump())


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (b'"statistics"', b'"simulation":{},"statistics"', r"simulation\n  Extra inputs"),
        (b'"fleet":null,', b"", "canonical JSON"),
        (b'"bias_input":0.3,', b"", "canonical JSON"),
        (b'"fleet":null', b'"flee":null', r"flee\n  Extra inputs"),
        (
            b'"trusted_aggregator":false',
            b'"trusted_aggregator":0',
            r"trusted_aggregator\n  Input should be a valid boolean",
        ),
        (b'"fleet":null', b'"fleet":NaN', r"fleet\n  Input should be"),
        (b'"corrupt_fraction"', b'"corrupt_share"', r"corrupt_share\n  Extra inputs"),
        (b'"epsilon":8', b'"epsilon":NaN', r"epsilon\n  Input should be a finite number"),
        (b"{", b"[", "Invalid JSON"),
        (SIGNED[64:], b"[]", "Input should be an object"),
    ],
)
def test_signed_bytes_in_another_form_are_refused(old: bytes, new: bytes, reason: str) -> None:
    body = SIGNED[64:].replace(old, new)
    with pytest.raises(TaskError, match=reason):
        open_task(OPERATOR.sign("havenfl/task/2", body) + body, OPERATOR.public)


@pytest.mark.parametrize("name", ["fleet", "trusted_aggregator"])
def test_outside_json_the_block_is_the_only_form(name: str) -> None:
    with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
        make_task(**{name: None})


@pytest.mark.parametrize("place", range(0, len(SIGNED), 11))
def test_any_changed_byte_is_refused(place: int) -> None:
    changed = bytearray(SIGNED)
    changed[place] ^= 1
    with pytest.raises(TaskError, match="task: "):
        open_task(bytes(changed), OPERATOR.public)


def test_another_operator_is_refused() -> None:
    with pytest.raises(TaskError, match="no valid signature"):
        open_task(SIGNED, Signer.from_seed(bytes(32)).public)


def test_only_the_canonical_encoding_is_accepted() -> None:
    body = json.dumps(json.loads(SIGNED[64:]), indent=1).encode()
    with pytest.raises(TaskError, match="RFC 8785"):
        open_task(OPERATOR.sign("havenfl/task/2", body) + body, OPERATOR.public)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"clip": 0.0}, "mechanism.clip"),
        ({"clip": float("inf")}, "mechanism.clip"),
        ({"noise_multiplier": -1.0}, "mechanism.noise_multiplier"),
        ({"noise": 1.0}, "mechanism.noise"),
        ({"clip": "1"}, "mechanism.clip"),
    ],
)
def test_bad_values_are_refused_by_name(change: dict[str, Any], field: str) -> None:
    values = make_task().model_dump()
    values["mechanism"].update(change)
    with pytest.raises(ValidationError) as caught:
        TaskSpec.model_validate(values)
    assert ".".join(str(part) for part in caught.value.errors()[0]["loc"]) == field


def test_a_budget_needs_noise() -> None:
    with pytest.raises(ValidationError, match="needs noise, got 0"):
        make_task(mechanism=DeviceMechanism(clip=1.0, noise_multiplier=0.0))


@pytest.mark.parametrize("lengths", [(0, 2), (3, 1), (1, 17)])
def test_ngram_ranges_that_would_drop_features(lengths: tuple[int, int]) -> None:
    with pytest.raises(ValidationError, match="the shorter one first"):
        FeatureSpec(word_ngrams=lengths)


def test_statistics_lengthen_the_contribution_and_widen_its_bound() -> None:
    task = make_task(statistics=(COUNT, LOSS), mechanism=DeviceMechanism(clip=3.0, noise_multiplier=1.0))
    assert task.length == task.model.dimension + 2
    assert task.contribution_bound == pytest.approx(3.0 * (1 + 0.75**2 + 1.0) ** 0.5)


def test_a_statistic_that_occurs_twice_is_refused() -> None:
    with pytest.raises(ValidationError, match="statistics: expected distinct names, got examples, examples"):
        make_task(statistics=(COUNT, COUNT))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"modulus_bits": 7}, "modulus_bits"),
        ({"modulus_bits": 33}, "modulus_bits"),
        ({"shards": 0}, "shards"),
        ({"min_survivors": 1}, "min_survivors"),
        ({"max_dropouts": -1}, "max_dropouts"),
        ({"security_bits": 29}, "security_bits"),
        ({"corrupt_fraction": 0.5}, "corrupt_fraction"),
    ],
)
def test_a_policy_out_of_range_is_refused_by_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        AggregationPolicy.model_validate({"max_dropouts": 0, "min_survivors": 2, "modulus_bits": 16, **change})
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]


def test_shards_share_the_cohort() -> None:
    """The largest one is a draw from the largest cohort by lots, wherever the cohort comes from."""

    def sharded(participation: PoissonParticipation | BoundedParticipation, shards: int) -> TaskSpec:
        policy = AggregationPolicy(max_dropouts=1, min_survivors=2, modulus_bits=16, shards=shards)
        return make_task(participation=participation, aggregation=policy)

    drawn, fixed = (
        PoissonParticipation(population=10_000, sampling_rate=0.1),
        BoundedParticipation(cohort=1_000, max_participations=3),
    )
    for participation in (drawn, fixed):
        largest = participation.largest_cohort
        assert sharded(participation, 1).largest_shard == largest
        assert sharded(participation, 4).shard_cohort == 250
        assert sharded(participation, 4).largest_shard == largest_draw(largest, 250 / largest)
        assert 250 + 6 * 250**0.5 < sharded(participation, 4).largest_shard < 500
    assert drawn.largest_cohort == largest_draw(10_000, 0.1) > 1_000
    assert fixed.largest_cohort == 1_000


def test_no_draw_is_larger_than_the_population() -> None:
    assert largest_draw(5, 0.9) == largest_draw(5, 1.0) == 5
