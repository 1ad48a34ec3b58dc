"""The task that a configuration asks devices to do on given data."""

from __future__ import annotations

from pydantic import ValidationError

from fl_client.training.models import UnknownArchitecture, initial_model, model_spec
from privacy import schedule
from privacy.accounting.calibration import noise_multiplier_for
from privacy.accounting.pivotal import TooFewReachable, require_reachable
from privacy.mechanism.mechanism import Mechanism, MechanismError, smallest_modulus, with_modulus
from privacy.report.words import TRUSTED_AGGREGATOR
from privacy.secagg.membership.params import (
    ParameterError,
    default_max_dropouts,
    default_min_survivors,
    default_shards,
    parameters,
)
from privacy.secagg.membership.room import require_room
from privacy.task.correlation import Correlation
from privacy.task.task import (
    AdaptiveClip,
    AggregationPolicy,
    BoundedParticipation,
    Budget,
    DeviceMechanism,
    Fleet,
    InitialModel,
    InputSpec,
    LocalSgd,
    LocalTraining,
    ModelSpec,
    Notice,
    Participation,
    PoissonParticipation,
    ServerOptimiser,
    SimulationOnly,
    Statistic,
    TaskSpec,
    Training,
    Window,
)
from simulations.config.architectures import input_spec, make_known
from simulations.config.config import ConfigError, PlannedRun, RunConfig, ServerConfig, TrainingConfig, planned
from simulations.randomness import SeedTree
from simulations.runs.assumptions import require_assumptions
from strategies.factorisation import best_correlation

_DEFAULT_EPSILON = 8.0
_MANY_DEVICE_ROUNDS, _DEVICE_ROUND_S = 10_000, 0.06
"""How many are long under the protocol, and CPU seconds of one with the default model (docs/secagg-costs.md)."""
_MOST_BITS = 32
"""Bits a coordinate that are tried first; fewer follow once the noise is known."""
_MADE_UP = "Messages that a generator made up: nobody wrote them."
_OF_A_FLEET = "; the noise of a fleet is small, and smaller the larger fleet.cohort is over server.cohort"


def with_schedule(config: RunConfig, devices: int) -> PlannedRun:
    """Return the configuration with the rounds and the cohort that it leaves open, chosen from public numbers.

    Args:
        config: what the run is told to do.
        devices: the population's size.

    Raises:
        ConfigError: when the configuration does not go with the chosen cohort.
    """
    server, fleet = config.server, config.fleet
    chosen = schedule.choose(_public(config, devices), rounds=server.rounds, cohort=server.cohort, shards=server.shards)
    limits = [devices // config.privacy.min_separation, fleet.cohort or devices]
    return planned(config, chosen.rounds, server.cohort or max(2, min(chosen.cohort, *limits)))


def choices(config: PlannedRun, devices: int, task: TaskSpec) -> list[schedule.Reason]:
    """Return what a run's schedule and its server's optimiser come to, a line each."""
    return schedule.reasons(_public(config, devices), _schedule(config), task)


def _schedule(config: PlannedRun) -> schedule.Schedule:
    return schedule.Schedule(config.server.rounds, config.server.cohort, config.server.shard_count)


def _public(config: RunConfig, devices: int) -> schedule.Circumstances:
    """Return the public numbers of a run; the noise of a fleet is so little that it decides nothing here."""
    privacy = config.privacy
    noiseless = config.fleet.given or privacy.noise_multiplier == 0
    return schedule.Circumstances(
        devices=devices,
        epsilon=None if noiseless else privacy.epsilon or _DEFAULT_EPSILON,
        delta=privacy.delta,
        participation=privacy.participation,
        max_participations=privacy.max_participations,
    )


def plan_task(config: PlannedRun, devices: int, fingerprint: str) -> TaskSpec:
    """Return the task of a configuration on given data, its noise calibrated if a budget was given.

    Args:
        config: what the run is told to do.
        devices: the population's size.
        fingerprint: hex digest of the data; it names the population, so that no other data continues this run.

    Raises:
        ConfigError: when the cohort does not fit the population, or no noise meets the budget.
    """
    participation, aggregation = _participation(config, devices), _aggregation(config)
    features = input_spec(config.training)
    correlation = _correlation(config)
    fleet = _fleet(config, correlation)
    if fleet is None:
        noise = _noise_multiplier(config, participation, aggregation, correlation)
    else:
        noise = fleet.noise_for(participation, aggregation, by_server=correlation is not None)
    task = TaskSpec(
        name=config.name,
        population=f"simulation-{fingerprint[:16]}",
        purpose=config.purpose,
        notice=_notice(config),
        model=_model(config.training.architecture, features),
        initial=_initial(config, features),
        features=features,
        training=_training(config.training),
        mechanism=DeviceMechanism(
            clip=config.privacy.clip,
            adaptive=_adaptive(config),
            correlation=correlation,
            noise_multiplier=noise,
        ),
        optimiser=ServerOptimiser(learning_rate=schedule.UNKNOWN_RATE, momentum=config.server.momentum),
        statistics=_statistics(config),
        participation=participation,
        aggregation=aggregation,
        budget=Budget(epsilon=None if fleet else _budget(config), delta=config.privacy.delta, window=_window(config)),
        rounds=config.server.rounds,
        randomness="seeded",
        simulation=SimulationOnly(fleet=fleet, trusted_aggregator=config.server.aggregation == "central"),
    )
    try:
        fitted = with_modulus(task, config.server.modulus_bits or smallest_modulus(task))
        Mechanism.for_cohort(fitted, fitted.largest_shard)
        require_room(fitted)
        parameters(round(fitted.shard_cohort), fitted.aggregation)
        require_reachable(fitted, devices)
    except (MechanismError, ParameterError, TooFewReachable) as error:
        raise ConfigError(f"server.{error}{_OF_A_FLEET if fleet else ''}") from error
    require_assumptions(config, fitted, devices)
    return fitted.model_copy(update={"optimiser": _optimiser(config, fitted)})


def _optimiser(config: PlannedRun, task: TaskSpec) -> ServerOptimiser:
    rate, momentum = config.server.learning_rate, config.server.momentum
    if rate == "auto":
        rate = schedule.learning_rate(task, momentum) if schedule.is_ruled(task) else schedule.UNKNOWN_RATE
    return ServerOptimiser(learning_rate=rate, momentum=momentum)


def _notice(config: RunConfig) -> Notice:
    if config.data.path is not None or config.notice.data:
        return config.notice
    return config.notice.model_copy(update={"data": _MADE_UP})


def _model(architecture: str, features: InputSpec) -> ModelSpec:
    try:
        return model_spec(make_known(architecture), features)
    except UnknownArchitecture as error:
        raise ConfigError(f"training.{error}") from error


def _initial(config: RunConfig, features: InputSpec) -> InitialModel:
    try:
        return initial_model(config.training.architecture, features, _model_seed(config), config.training.base_rate)
    except UnknownArchitecture as error:
        raise ConfigError(f"training.{error}") from error


def _model_seed(config: RunConfig) -> int:
    """Return the seed of the model before the first round, of the 53 bits that JSON holds."""
    return SeedTree.root(config.seed or 0).child("model").integer() >> 10


def _training(config: TrainingConfig) -> Training:
    if config.method == "sgd":
        return LocalSgd(epochs=config.epochs, batch_size=config.batch_size, learning_rate=config.learning_rate)
    return LocalTraining(
        steps=config.steps,
        sampling_rate=config.sampling_rate,
        expected_batch=config.expected_batch,
        learning_rate=config.learning_rate,
        message_clip=config.message_clip,
        message_noise=config.message_noise,
    )


def warnings_about(config: PlannedRun, devices: int, task: TaskSpec) -> list[str]:
    """Return what a run may do, but its reader should know: a line each, for a population of so many devices."""
    fleet, delta = config.fleet, config.privacy.delta
    warnings = []
    if fleet.given:
        warnings.append(
            f"EXTRAPOLATED: rounds of {config.server.cohort} devices get the noise of cohorts of {fleet.cohort:,} of "
            f"{fleet.population:,}; the epsilon of that fleet is charged to nobody and protects no device of this run"
        )
    lost, withstood = config.faults.lost_before_the_sum, config.server.dropout_fraction
    if lost > withstood:
        warnings.append(
            f"faults: {lost:.0%} of a cohort are lost before its sum on average, and server.dropout_fraction "
            f"allows for {withstood:.0%}: most rounds will release nothing; raise server.dropout_fraction"
        )
    if config.server.aggregation == "central":
        warnings.append(f"aggregation central: {TRUSTED_AGGREGATOR}")
    device_rounds = config.server.rounds * config.server.cohort
    if config.server.aggregation == "secure" and device_rounds > _MANY_DEVICE_ROUNDS:
        minutes = device_rounds * _DEVICE_ROUND_S / 60
        warnings.append(
            f"{device_rounds:,} device rounds under the whole protocol take some {minutes:.0f} "
            "minutes of CPU; --aggregation central gives a model of the same distribution in a small part of that"
        )
    protected = fleet.population or devices
    if delta > 1 / protected:
        warnings.append(
            f"delta {delta:g} is larger than 1/devices ({1 / protected:.2g}): it would allow one device in the "
            "population to be given away"
        )
    warnings += schedule.warnings(_public(config, devices), _schedule(config))
    return warnings + (schedule.rate_warnings(task) if schedule.is_ruled(task) else [])


def _participation(config: PlannedRun, devices: int) -> Participation:
    cohort = config.server.cohort
    if cohort > devices:
        raise ConfigError(f"--cohort: expected at most the population's {devices} devices, got {cohort}")
    if config.privacy.participation == "poisson":
        return PoissonParticipation(population=devices, sampling_rate=cohort / devices)
    limits = config.privacy
    if cohort * limits.min_separation > devices:
        raise ConfigError(
            f"privacy.min_separation: cohorts of {cohort} that are disjoint over {limits.min_separation} rounds need "
            f"{cohort * limits.min_separation} devices, got {devices}"
        )
    return BoundedParticipation(
        cohort=cohort, max_participations=limits.max_participations, min_separation=limits.min_separation
    )


def _fleet(config: PlannedRun, correlation: Correlation | None) -> Fleet | None:
    """Return the fleet that the run stands for, if it does, with the noise that its budget asks for."""
    fleet = config.fleet
    if fleet.cohort is None or fleet.population is None:
        return None
    participation = _fleet_participation(config, fleet.population, fleet.cohort)
    shards = fleet.shards or default_shards(fleet.cohort)
    server = config.server
    max_dropouts = default_max_dropouts(fleet.cohort, shards, server.dropout_fraction)
    aggregation = AggregationPolicy(
        corrupt_fraction=server.corrupt_fraction,
        max_dropouts=max_dropouts,
        min_survivors=default_min_survivors(fleet.cohort, shards, max_dropouts, server.corrupt_fraction),
        modulus_bits=_MOST_BITS,
        shards=shards,
    )
    try:
        return Fleet(
            population=fleet.population,
            participation=participation,
            aggregation=aggregation,
            noise_multiplier=_noise_multiplier(config, participation, aggregation, correlation),
            epsilon=_budget(config),
        )
    except ValidationError as error:
        raise ConfigError(f"fleet: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from error


def _fleet_participation(config: PlannedRun, population: int, cohort: int) -> Participation:
    if config.privacy.participation == "poisson":
        return PoissonParticipation(population=population, sampling_rate=cohort / population)
    most, apart = _fleet_limits(config)
    if config.server.rounds * cohort > population * most:
        raise ConfigError(
            f"fleet.max_participations: {config.server.rounds} rounds of {cohort} need {population} devices to take "
            f"part {-(-config.server.rounds * cohort // population)} times, got {most}"
        )
    return BoundedParticipation(cohort=cohort, max_participations=most, min_separation=apart)


def _fleet_limits(config: RunConfig) -> tuple[int, int]:
    """Return the most participations and the least separation that the claim counts on."""
    fleet, own = config.fleet, config.privacy
    return fleet.max_participations or own.max_participations, fleet.min_separation or own.min_separation


def _statistics(config: RunConfig) -> tuple[Statistic, ...]:
    server = config.server
    return tuple(
        Statistic(name=name, bound=float(server.statistics_bound), sensitivity_fraction=server.statistics_fraction)
        for name in server.statistics
    )


def _aggregation(config: PlannedRun) -> AggregationPolicy:
    """Return the policy of secure aggregation, in as many bits as there are."""
    return AggregationPolicy(
        corrupt_fraction=config.server.corrupt_fraction,
        max_dropouts=config.server.max_dropouts,
        min_survivors=config.server.fewest_survivors,
        modulus_bits=_MOST_BITS,
        shards=config.server.shard_count,
    )


def _correlation(config: PlannedRun) -> Correlation | None:
    limits, rounds = config.privacy, config.server.rounds
    if limits.noise == "devices":
        return None
    if limits.participation == "poisson":
        raise ConfigError("privacy.noise: correlated noise counts on limits: expected participation `bounded`")
    if limits.clip_quantile is not None or config.server.statistics:
        raise ConfigError("privacy.noise: correlated noise goes with neither clip_quantile nor statistics")
    most, apart = _fleet_limits(config)
    correlation = best_correlation(rounds, apart, most, momentum=config.server.momentum)
    if correlation is None:
        raise ConfigError(
            f"privacy.noise: with {most} participations {apart} rounds apart, in "
            f"{rounds} rounds, no correlation does better than independent noise; raise min_separation"
        )
    return correlation


def _noise_multiplier(
    config: PlannedRun, participation: Participation, aggregation: AggregationPolicy, correlation: Correlation | None
) -> float:
    if config.privacy.noise_multiplier is not None:
        return config.privacy.noise_multiplier
    try:
        return noise_multiplier_for(
            participation,
            config.server.rounds,
            _budget(config) or _DEFAULT_EPSILON,
            config.privacy.delta,
            aggregation,
            correlation=correlation,
        )
    except ValueError as error:
        field, _, reason = str(error).partition(": ")
        section = "server" if field in ServerConfig.model_fields else "privacy"
        raise ConfigError(f"{section}.{field}: {reason}") from error


def _adaptive(config: RunConfig) -> AdaptiveClip | None:
    quantile = config.privacy.clip_quantile
    return None if quantile is None else AdaptiveClip(quantile=quantile)


def _window(config: RunConfig) -> Window | None:
    epsilon, days = config.privacy.window_epsilon, config.privacy.window_days
    return None if epsilon is None or days is None else Window(epsilon=epsilon, days=days)


def _budget(config: RunConfig) -> float | None:
    """Return the budget in epsilon; None where only the noise was given, and epsilon is reported, not limited."""
    if config.privacy.epsilon is None and config.privacy.noise_multiplier is None:
        return _DEFAULT_EPSILON
    return config.privacy.epsilon
