"""Files that a server was given, or wrote before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from privacy.base.errors import what_is_wrong

_T = TypeVar("_T")


def parsed(path: Path, parse: Callable[[bytes], _T], refusal: type[Exception]) -> _T:
    """Read and parse a file.

    Args:
        path: of the file.
        parse: makes a value of the file's bytes, or raises ValueError.
        refusal: the error to raise instead, with a text that names the file.

    Raises:
        refusal: when the file cannot be read or parsed.
    """
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise refusal(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise refusal(f"{path}: {what_is_wrong(error)}") from error
    except ValueError as error:
        raise refusal(f"{path}: {error}") from error
