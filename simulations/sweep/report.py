"""The files that a finished sweep leaves behind: tables, charts, a page and `sweep.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from privacy.accounting.selection import SOURCE
from privacy.base.files import write_atomically
from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.sweep.charts import draw
from simulations.sweep.grid import PRIVACY_KEYS, short
from simulations.sweep.running import SweepResult
from simulations.sweep.table import Setting, best_by, run_rows, setting_fields, settings_of, write_tables
from simulations.sweep.tuning import TuningCost, tuning_cost
from simulations.terminal.page import bound, render

_AGGREGATION = {
    "ideal": "Secure aggregation was left out: what it would have added up was added up directly. The models are those "
    "of secure aggregation but for the rounding of floats, much faster to get; there is no log of rounds to verify.",
    "secure": "Secure aggregation was run for real, as the configuration asks.",
    "central": "A trusted aggregator was simulated, as the configuration asks: the claims do not hold against it.",
}


@dataclass(frozen=True)
class SweepReport:
    """A sweep's results in the form in which people want them."""

    result: SweepResult
    settings: Sequence[Setting]
    cost: TuningCost

    @classmethod
    def of(cls, result: SweepResult) -> SweepReport:
        """Put a sweep's runs together over their seeds, and compute what tuning would cost."""
        cost = tuning_cost([cell.prepared.task for cell in result.cells])
        return cls(result, settings_of(result.results), cost)

    @property
    def by(self) -> str | None:
        """The key that says how much privacy there is, if the grid has one."""
        keys = [axis.key for axis in self.result.grid.axes]
        return next((key for key in PRIVACY_KEYS if key in keys), None)

    @property
    def best(self) -> list[Setting]:
        """The best setting for each amount of privacy."""
        return best_by(self.by, self.settings)

    @property
    def aggregations(self) -> list[str]:
        """The ways in which cells' updates are added up, in the order of the cells."""
        return list(dict.fromkeys(run.cell.config.server.aggregation for run in self.result.results))

    def write(self) -> dict[str, Any]:
        """Write all files anew, and return what is in `sweep.json`."""
        path = self.result.directory.path
        write_tables(run_rows(self.result), path / "table.csv", path / "table.parquet")
        write_atomically(path / "sweep.html", self._page().encode())
        fields = self.fields()
        write_atomically(path / "sweep.json", (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode())
        return fields

    def fields(self) -> dict[str, Any]:
        """Return all results, for JSON; None stands for an epsilon without a bound."""
        grid, result = self.result.grid, self.result
        return {
            "runs": len(result.results),
            "complete": sum(run.summary is not None for run in result.results),
            "failed": [{"run": run.cell.name, "error": run.error} for run in result.failed],
            "seeds": grid.seeds,
            "grid": {axis.key: list(axis.values) for axis in grid.axes},
            "aggregations": self.aggregations,
            "ranked_by": "AUROC on the calibration users",
            "settings": [setting_fields(setting) for setting in self.settings],
            "best": [setting_fields(setting) for setting in self.best],
            "tuning": {"charged": False, **asdict(self.cost), "best_alone_by": SOURCE, "statement": self.tuning},
        }

    def describe(self) -> str:
        """Describe the sweep in a few lines."""
        path = self.result.directory.path
        return "\n".join(
            [
                f"best{' for each ' + short(self.by) if self.by else ''} by calibration users' AUROC, on test users:",
                *map(_line, self.best),
                *(f"aggregation {name}: {_AGGREGATION[name]}" for name in self.aggregations),
                f"tuning was not charged. {self.together}",
                f"look at     {path / 'sweep.html'}  {path / 'table.csv'}",
            ]
        )

    @property
    def tuning(self) -> str:
        """The warning that tuning was not charged, and what to do about it."""
        cost = self.cost
        return (
            f"Each run's ε counts that run alone. {self.together} Tune on data of other people, or charge it to the "
            f'devices\' ledger (purpose "tuning"): a run alone costs up to {bound(cost.costliest)}.'
        )

    @property
    def together(self) -> str:
        """The sentence about what the sweep, as it was run, would cost."""
        cost = self.cost
        noisy = cost.runs - cost.noiseless
        if not noisy:
            return "No run has noise, so nothing can be promised to devices whose data they use."
        figure = (
            f"ε {bound(cost.noisy_together)} at δ {cost.delta:g}"
            if cost.noisy_together is not None
            else "no ε that can be stated"
        )
        if cost.noiseless:
            return (
                f"Were all {cost.runs} runs trained on the same devices, nothing could be promised to them, since "
                f"{cost.noiseless} have no noise; the other {noisy} together cost a device {figure}."
            )
        if cost.runs == 1:
            return f"The one run costs a device {figure}."
        return f"Were all {cost.runs} runs trained on the same devices, they would together cost a device {figure}."

    def _page(self) -> str:
        grid, best = self.result.grid, self.best
        return render(
            "sweep/sweep.html.j2",
            name=grid.base.name,
            settings=self.settings,
            best=best,
            top=self.settings[0],
            by=short(self.by) if self.by else None,
            keys=[short(axis.key) for axis in grid.axes],
            metrics=HEADLINE_METRICS,
            seeds=grid.seeds,
            runs=len(self.result.results),
            done=sum(run.summary is not None for run in self.result.results),
            failed=self.result.failed,
            extrapolated=any(run.summary["extrapolated"] for run in self.result.results if run.summary),
            charts=draw(self.settings, grid.seeds, self.result.directory.path),
            cost=self.cost,
            tuning=self.tuning,
            together=self.together,
            source=SOURCE,
            aggregations={name: _AGGREGATION[name] for name in self.aggregations},
            config=grid.base.to_toml(self.result.directory.path),
        )


def _line(setting: Setting) -> str:
    """Describe a setting in a line of the terminal."""
    metrics = [
        f"{label} {setting.metrics[name].text()}" for name, label in HEADLINE_METRICS.items() if name in setting.metrics
    ]
    return f"{setting.label or 'as configured':<40}  ε {bound(setting.epsilon):>6}  {'  '.join(metrics)}"
