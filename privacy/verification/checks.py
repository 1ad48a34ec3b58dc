"""The result of one check, as a reviewer reads it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Check:
    """One claim, checked.

    Attributes:
        name: the claim.
        passed: whether it holds; None when it could not be verified, and `detail` says why.
        detail: what was compared or, after a failure, what was expected and what came.
        places: what of the files was not verified: a file's name, followed for a part of it by `#` and its path in the
            JSON, with dots and `*` for any number; empty for a claim about no part of a file.
        word: whether it is somebody's word, which no file that could be given would show.
    """

    name: str
    passed: bool | None
    detail: str
    places: tuple[str, ...] = ()
    word: bool = False
