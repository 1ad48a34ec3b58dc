from .training import (
    Examples as Examples,
    LocalTrainer as LocalTrainer,
    TrainingError as TrainingError,
    epochs as epochs,
)
