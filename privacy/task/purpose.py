"""What a round is run for, apart from the task so that a command can name it in its help."""

from __future__ import annotations

from typing import Literal

Purpose = Literal["training", "tuning", "evaluation", "analytics"]
"""What a round is run for. All purposes cost the same: devices cannot tell them apart."""
