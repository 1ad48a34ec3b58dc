"""The files that a finished comparison leaves behind: a table, a page and `compare.json`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from privacy.base.files import write_atomically
from simulations.compare.chart import draw
from simulations.compare.grids import BATCH, DP_RATES, EPOCHS, MOST_DEVICES, RATES, SCHEDULES, TUNING_DEVICES
from simulations.compare.methods import CENTRAL_DP, FEDERATED, LOCAL_ONLY
from simulations.compare.running import Comparison
from simulations.compare.table import Row, row_fields, rows_of, write_csv
from simulations.evaluation.metrics import HEADLINE_METRICS
from simulations.terminal.page import bound, render

UNITS = (
    "The two epsilons do not compare: the federation's hides all that a device holds, from whoever sees a model; that "
    "of central DP-SGD hides that one message was there, from the same, and the server reads every message."
)
"""What keeps a reader from comparing the epsilons of two rows."""


@dataclass(frozen=True)
class CompareReport:
    """A comparison's results in the form in which people want them."""

    comparison: Comparison
    rows: Sequence[Row]

    @classmethod
    def of(cls, comparison: Comparison) -> CompareReport:
        """Put a comparison's trials together over its seeds."""
        return cls(comparison, rows_of(comparison.trials))

    def write(self) -> dict[str, Any]:
        """Write all files, and return what is in `compare.json`."""
        path = self.comparison.path
        write_csv(self.comparison.trials, path / "compare.csv")
        write_atomically(path / "compare.html", self._page().encode())
        fields = self.fields()
        write_atomically(path / "compare.json", (json.dumps(fields, indent=2, allow_nan=False) + "\n").encode())
        return fields

    def fields(self) -> dict[str, Any]:
        """Return all results, for JSON."""
        base = self.comparison.base
        return {
            "seeds": [prepared.seed for prepared in self.comparison.prepared],
            "aggregation": base.server.aggregation,
            "delta": base.privacy.delta,
            "tuned_by": "AUROC on the calibration users",
            "tuning_charged": False,
            "grids": {
                "sgd": {"rates": RATES, "epochs": EPOCHS, "batch_size": BATCH},
                "dp_sgd": {"rates": DP_RATES, "schedules": [vars(schedule) for schedule in SCHEDULES]},
            },
            "units": UNITS,
            "rows": [row_fields(row) for row in self.rows],
        }

    def describe(self) -> str:
        """Write the table in plain text, with what its reader has to know."""
        head = ["", *HEADLINE_METRICS.values(), "ε", "of", "seconds"]
        body = [
            [
                row.method.label,
                *(f"{self.figure(row, name)} {self.between(row, name)}".rstrip() for name in HEADLINE_METRICS),
                self.epsilon(row),
                row.method.unit,
                row.seconds.text(2) if row.seconds else "",
            ]
            for row in self.rows
        ]
        path = self.comparison.path
        notes = [self.note, UNITS, self.local_only_note, *self.edges]
        return "\n".join(
            [*_aligned([head, *body]), *notes, f"look at  {path / 'compare.html'}  {path / 'compare.csv'}"]
        )

    @staticmethod
    def figure(row: Row, name: str) -> str:
        """Write a metric of a row as people do."""
        if name not in row.metrics:
            return "n/a"
        return row.metrics[name].text()

    @staticmethod
    def between(row: Row, name: str) -> str:
        """Write the quartiles of a metric, where there are some."""
        quartiles = row.quartiles.get(name)
        return "" if quartiles is None else f"({quartiles.lower:.3f} to {quartiles.upper:.3f})"

    @staticmethod
    def epsilon(row: Row) -> str:
        """Write the epsilon of a row; where nothing is released, there is none to state."""
        return "–" if row.method == LOCAL_ONLY else bound(row.epsilon)

    @property
    def note(self) -> str:
        """Say how to read the table."""
        base, count = self.comparison.base, len(self.comparison.prepared)
        spread = f"Mean ± one standard deviation over {count} seeds" if count > 1 else "One seed"
        return (
            f"{spread}, on test users; ε at δ {base.privacy.delta:g}; seconds of training at the chosen setting, "
            f"aggregation {base.server.aggregation}. Tuning was not charged."
        )

    @property
    def local_only_note(self) -> str:
        """Say what stands in the row of devices alone."""
        row = next(row for row in self.rows if row.method == LOCAL_ONLY)
        return (
            f"Each device alone: {row.devices} drawn at random from those with messages, each with a model of its own: "
            "mean, in brackets quartiles over devices; seconds a device."
        )

    @property
    def edges(self) -> list[str]:
        """Name the baselines that a wider grid might have served better, a sentence for each."""
        count = len(self.comparison.prepared)
        return [
            f"At the edge of its grid, so that a better setting may lie beyond: {row.method.label}, "
            f"{row.edges} of {count} seed{'s' if count > 1 else ''}."
            for row in self.rows
            if row.edges
        ]

    def _page(self) -> str:
        base, prepared = self.comparison.base, self.comparison.prepared[0]
        by = {row.method: row for row in self.rows}
        return render(
            "compare/compare.html.j2",
            name=base.name,
            rows=self.rows,
            ours=by[FEDERATED],
            dp=by[CENTRAL_DP],
            metrics=HEADLINE_METRICS,
            report=self,
            chart=draw(self.rows),
            units=UNITS,
            counts=prepared.data.counts(),
            seeds=len(self.comparison.prepared),
            delta=base.privacy.delta,
            grids={
                "rates": _listed(RATES),
                "epochs": _listed(EPOCHS),
                "batch": BATCH,
                "dp_rates": _listed(DP_RATES),
                "schedules": SCHEDULES,
                "tuning_devices": TUNING_DEVICES,
                "most_devices": MOST_DEVICES,
            },
            config=base.to_toml(self.comparison.path),
        )


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:g}" for value in values)


def _aligned(table: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in table]
