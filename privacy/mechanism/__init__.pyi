from .correlated_noise import (
    NoiseStream as NoiseStream,
    secure_normals as secure_normals,
    tree_prefix_variances as tree_prefix_variances,
)
from .mechanism import (
    Mechanism as Mechanism,
    MechanismError as MechanismError,
    smallest_modulus as smallest_modulus,
    with_modulus as with_modulus,
)
from .rotation import spread as spread
