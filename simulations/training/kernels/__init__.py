"""Training of the known architectures, compiled: one device after the other, each within the cache.

A kernel trains on a packed table of the rows that the device touches, and a small dense part. One device at a time
means that what it learns does not depend on who trains beside it, to the bit.
"""

from simulations.training.kernels.base import Kernel, Space, Steps
from simulations.training.kernels.convolution import CharacterCnnKernel
from simulations.training.kernels.embedding import WordEmbeddingKernel
from simulations.training.kernels.linear import HashedLinearKernel

KERNELS: dict[str, type[Kernel]] = {
    "hashed-linear": HashedLinearKernel,
    "word-embedding": WordEmbeddingKernel,
    "character-cnn": CharacterCnnKernel,
}
"""By architecture."""

__all__ = ["KERNELS", "Kernel", "Space", "Steps"]
