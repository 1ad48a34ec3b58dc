"""The known architectures' kernels, by the names of the architectures."""

from simulations.training.kernels.base import Kernel
from simulations.training.kernels.convolution import CharacterCnnKernel
from simulations.training.kernels.embedding import WordEmbeddingKernel
from simulations.training.kernels.linear import HashedLinearKernel

KERNELS: dict[str, type[Kernel]] = {
    "hashed-linear": HashedLinearKernel,
    "word-embedding": WordEmbeddingKernel,
    "character-cnn": CharacterCnnKernel,
}
