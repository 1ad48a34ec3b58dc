"""A transport over a real SuperLink that is generous to who is alive, and does not wait as long for the dead."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from fl_server.flower.grid_transport import GridTransport, RunConfig
from fl_server.training.transport import NodeId, Reply
from privacy.secagg import Request, Stage

GENEROUS_S = 120.0
"""A stage's timeout that no device exceeds that is alive, on however busy a machine."""
_LINGER_S = 2.0

Death = tuple[Stage, int]
"""In which stage, the how manyth time."""


class LeapingClock:
    """The time, in seconds, and what has been leapt over."""

    def __init__(self) -> None:
        self._leapt = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self._leapt

    def leap_to(self, moment: float) -> None:
        """Go on from then; never back."""
        self._leapt += max(0.0, moment - self())


class LeapingTransport(GridTransport):
    """Leaps to 2 s before the end of a stage in which devices die, once all others have answered.

    Every such stage lasts until its deadline. Who answers although dead is met in those 2 s.
    """

    def __init__(self, grid: Grid, deaths: Iterable[Death]) -> None:
        self.clock = LeapingClock()
        super().__init__(grid, clock=self.clock)
        self._deaths = Counter(deaths)
        self._exchanges: Counter[str] = Counter()

    def exchange(self, stage: str, requests: Mapping[NodeId, Request], timeout: float) -> Iterator[Reply]:
        self._exchanges[stage] += 1
        dead = self._deaths[Stage(stage), self._exchanges[stage]]
        last_chance, awaited = self.clock() + timeout - _LINGER_S, len(requests) - dead
        for reply in super().exchange(stage, requests, timeout):
            yield reply
            awaited -= 1
            if dead and not awaited:
                self.clock.leap_to(last_chance)


def run_config(deaths: Iterable[Death]) -> dict[str, str]:
    """What a `leaping_app` has to be told."""
    return {"deaths": " ".join(f"{stage}:{number}" for stage, number in deaths)}


def leaping_app(main: Callable[[LeapingTransport, RunConfig], None]) -> ServerApp:
    """As `server_app`, for devices that die as its run configuration says."""
    app = ServerApp()

    @app.main()
    def run(grid: Grid, context: Context) -> None:
        deaths = [death.split(":") for death in str(context.run_config["deaths"]).split()]
        transport = LeapingTransport(grid, [(Stage(stage), int(number)) for stage, number in deaths])
        main(transport, context.run_config)

    return app
