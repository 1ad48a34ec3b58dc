from .base import Kernel as Kernel, Space as Space, Steps as Steps
from .known import KERNELS as KERNELS
