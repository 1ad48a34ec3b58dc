from .console import (
    Bar as Bar,
    Progress as Progress,
    RunProgress as RunProgress,
    Spent as Spent,
    StopAfterRound as StopAfterRound,
    describe as describe,
    figures as figures,
)
from .page import bound as bound, render as render, svg as svg
