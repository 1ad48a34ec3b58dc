from .features import (
    Features as Features,
    Inputs as Inputs,
    Sequences as Sequences,
    encode_texts as encode_texts,
    normalise as normalise,
)
from .models import (
    CharacterCnn as CharacterCnn,
    UnknownArchitecture as UnknownArchitecture,
    WordEmbedding as WordEmbedding,
    build as build,
    initial_model as initial_model,
    initial_weights as initial_weights,
    load_flat as load_flat,
    model_spec as model_spec,
    register as register,
)
from .training import (
    Examples as Examples,
    LocalTrainer as LocalTrainer,
    TrainingError as TrainingError,
    epochs as epochs,
)
