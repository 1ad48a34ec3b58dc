"""What an operator tells people of a task in words: which data it learns from, and whom they can ask."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from pydantic import AfterValidator, Field, model_validator

from privacy.base.canonical import Frozen


def _a_day(text: str) -> str:
    if date.fromisoformat(text).isoformat() != text:
        raise ValueError(f"expected a date as YYYY-MM-DD, got {text}")
    return text


Day = Annotated[str, AfterValidator(_a_day)]
"""A date, as YYYY-MM-DD."""


class Notice(Frozen):
    """The operator's own words, signed with the task and shown in its report; nobody can verify them.

    Attributes:
        data: which data the task learns from; empty where nothing is said.
        data_from: the first day that they may be of; None where nothing is said.
        data_until: the last day that they may be of; None where nothing is said.
        contact: who answers questions, and how they are reached; empty where nobody is named.
    """

    data: str = Field(default="", max_length=1000)
    data_from: Day | None = None
    data_until: Day | None = None
    contact: str = Field(default="", max_length=1000)

    @model_validator(mode="after")
    def _in_order(self) -> Notice:
        if self.data_from and self.data_until and self.data_from > self.data_until:
            raise ValueError(f"data_until: expected {self.data_from} or later, got {self.data_until}")
        return self
