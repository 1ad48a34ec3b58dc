from .mean_std import Spread as Spread
from .metrics import (
    Metrics as Metrics,
    Scorer as Scorer,
    best_threshold as best_threshold,
    evaluate as evaluate,
    reach as reach,
    success as success,
)
from .scoring import ScoringError as ScoringError, ScoringJob as ScoringJob, score_file as score_file
