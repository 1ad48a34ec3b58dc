"""Numba's compiler, typed, with the options of all kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., object])


def compiled(function: F) -> F:
    """`function`, compiled when it is first called, and kept on disk.

    Sums may be taken in another order and products fused; NaN and infinity stay what they are.
    """
    return cast(
        F, numba.njit(cache=True, fastmath={"reassoc", "contract", "nsz", "arcp"}, error_model="numpy")(function)
    )
