"""Files that a server was given, or wrote before."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from privacy.base.errors import what_is_wrong

_T = TypeVar("_T")


def parsed(path: Path, parse: Callable[[bytes], _T], refusal: type[Exception]) -> _T:
    """What `parse` makes of a file's bytes; a `refusal` that names the file when it cannot be read or is not so."""
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise refusal(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        raise refusal(f"{path}: {what_is_wrong(error)}") from error
    except ValueError as error:
        raise refusal(f"{path}: {error}") from error
