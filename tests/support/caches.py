"""The memories of functions in a package, found where they are and not by a list."""

from __future__ import annotations

import sys


def filled(package: str) -> list[str]:
    """Names of the package's functions, among modules already imported, whose `lru_cache` holds a result."""
    return [
        f"{name}.{function}"
        for name, module in list(sys.modules.items())
        if name.startswith(package)
        for function, value in vars(module).items()
        if hasattr(value, "cache_info") and value.cache_info().currsize
    ]
