from .accountant import (
    Spend as Spend,
    confirmed_spend as confirmed_spend,
    message_level_epsilon as message_level_epsilon,
    privacy_curve as privacy_curve,
    rounds_left as rounds_left,
    spend as spend,
    spend_by_round as spend_by_round,
    within as within,
)
from .calibration import message_noise_for as message_noise_for, noise_multiplier_for as noise_multiplier_for
from .composition import (
    AccountantsDisagree as AccountantsDisagree,
    compose as compose,
    epsilon_bracket as epsilon_bracket,
)
from .events import (
    BoundedGaussian as BoundedGaussian,
    CorrelatedGaussian as CorrelatedGaussian,
    Event as Event,
    PoissonGaussian as PoissonGaussian,
    round_event as round_event,
)
from .extrapolation import fleet_epsilon as fleet_epsilon, fleet_events as fleet_events, fleet_task as fleet_task
from .sampling import draw_cohort as draw_cohort, eligible_devices as eligible_devices
from .selection import best_of_random_many as best_of_random_many
