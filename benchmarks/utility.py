"""What the defaults reach on real data, by device-level epsilon: the plain command, nothing tuned by hand.

    python benchmarks/utility.py DIRECTORY                       # a table
    python benchmarks/utility.py DIRECTORY --json > utility.json
    python benchmarks/utility.py DIRECTORY --sets davidson --levels 8 1 --runs 1
    python benchmarks/utility.py --page utility.json             # docs/defaults.md with these figures

DIRECTORY holds `davidson.csv.gz` (Davidson et al. 2017; `dirichlet:0.3` over 1,000 devices), `stormfront_users.csv.gz`
(de Gibert et al. 2018; its 2,778 users) and `edos.csv.gz` (Kirk et al. 2023; `dirichlet:0.3` over 1,000 devices), with
columns `text` and `label`, and `user`. For each set, level and seed this runs

    fl-sim run --data FILE ... --epsilon LEVEL --seed SEED --aggregation central

whose model has the distribution of secure aggregation's, at delta 1e-5, and reports AUROC and macro-F1 on test users,
who choose nothing: the threshold is that of the calibration users. Beside them, on the same test rows:

* `tf-idf`: scikit-learn's TF-IDF of words and characters and logistic regression on all training messages in one place;
  of five strengths of regularisation the best for the calibration users.
* `profanity`: alt-profanity-check as it comes, where `--profanity` names a Python that has it.

Figures are means over `--runs` seeds, with their range.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TypedDict

import numpy as np
from measure import machine
from numpy.typing import NDArray
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_union

from simulations.config.config import load_config
from simulations.data.dataset import Table, load
from simulations.evaluation.metrics import best_threshold, evaluate
from simulations.population.split import Split, split
from simulations.randomness import SeedTree

_PARTITION = ("--partition", "dirichlet:0.3", "--devices", "1000")
SETS = {
    "davidson": ("davidson.csv.gz", _PARTITION),
    "stormfront": ("stormfront_users.csv.gz", ("--user-column", "user")),
    "edos": ("edos.csv.gz", _PARTITION),
}
NO_NOISE = "none"
LEVELS = (NO_NOISE, "8", "3", "1")
_STRENGTHS = (0.3, 1.0, 3.0, 10.0, 30.0)
_PAGE = Path(__file__).parent.parent / "docs" / "defaults.md"


class Row(TypedDict):
    """A method on a set: means over seeds, and ranges."""

    data: str
    method: str
    auroc: float
    auroc_range: tuple[float, float]
    macro_f1: float
    macro_f1_range: tuple[float, float]
    runs: int
    setting: str


Figures = tuple[float, float, str]
"""AUROC, macro-F1 and how the model was trained."""


def federated(path: Path, flags: Sequence[str], level: str, seed: int) -> Figures:
    """Run the plain command."""
    noise = ("--noise-multiplier", "0") if level == NO_NOISE else ("--epsilon", level)
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-m", "simulations", "run", "--data", str(path), *flags, *noise]
        own = ["--seed", str(seed), "--aggregation", "central", "--workers", "1", "--out", f"{directory}/run", "--json"]
        summary = json.loads(_output([*command, *own]))
        task = json.loads((Path(directory) / "run" / "release" / "stable" / "task.json").read_bytes())
    setting = f"{task['rounds']} rounds of {summary['cohort']}, rate {task['optimiser']['learning_rate']:g}"
    return summary["auroc"], summary["macro_f1"], setting


def central(table: Table, parts: Split) -> Figures:
    """Train scikit-learn's TF-IDF with logistic regression on all training messages."""
    labels = table.required_labels()
    inputs = make_union(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True),
        TfidfVectorizer(analyzer="char_wb", ngram_range=(1, 4), sublinear_tf=True, max_features=100_000),
    )
    rows = inputs.fit_transform(_texts(table, parts.train))
    calibration, test = (inputs.transform(_texts(table, part)) for part in (parts.calibration, parts.test))

    def trained(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=1_000).fit(rows, labels[parts.train])

    models = {strength: trained(strength) for strength in _STRENGTHS}
    scores = {strength: model.predict_proba(calibration)[:, 1] for strength, model in models.items()}
    best = max(scores, key=lambda strength: evaluate(labels[parts.calibration], scores[strength], 0.5).auroc or 0.0)
    return *_judged(labels, parts, scores[best], models[best].predict_proba(test)[:, 1]), f"C {best:g}"


def profanity(table: Table, parts: Split, python: Path) -> Figures:
    """Score with alt-profanity-check, in the Python that has it."""
    script = (
        "import json, sys; from profanity_check import predict_prob; "
        "print(json.dumps(predict_prob(json.load(sys.stdin)).tolist()))"
    )
    texts = json.dumps([*_texts(table, parts.calibration), *_texts(table, parts.test)])
    scores = np.array(json.loads(_output([str(python), "-c", script], texts)))
    first = parts.calibration.size
    return *_judged(table.required_labels(), parts, scores[:first], scores[first:]), "as it comes"


def _output(command: Sequence[str], text: str = "") -> str:
    return subprocess.run(command, input=text, check=True, stdout=subprocess.PIPE, text=True).stdout  # noqa: S603


def _judged(
    labels: NDArray[np.int8], parts: Split, calibration: NDArray[np.float64], test: NDArray[np.float64]
) -> tuple[float, float]:
    threshold = best_threshold(labels[parts.calibration], calibration)
    metrics = evaluate(labels[parts.test], test, threshold)
    return metrics.auroc or 0.0, metrics.macro_f1 or 0.0


def _texts(table: Table, rows: NDArray[np.int64]) -> list[str]:
    return [table.texts[row] for row in rows]


def _same_split(table: Table, seed: int) -> Split:
    """Split as a run with this seed does."""
    return split(table, np.random.default_rng(SeedTree.root(seed).child("data").child("split").integer()))


def rows(directory: Path, sets: Sequence[str], levels: Sequence[str], runs: int, python: Path | None) -> Iterator[Row]:
    """Measure every level and every baseline on each set."""
    for name in sets:
        yield from _rows(name, directory / SETS[name][0], levels, runs, python)


def _rows(name: str, path: Path, levels: Sequence[str], runs: int, python: Path | None) -> Iterator[Row]:
    flags = SETS[name][1]
    for level in levels:
        yield _row(name, level, runs, partial(federated, path, flags, level))
    user_column = "user" if "--user-column" in flags else None
    table = load(load_config(None, {"data.path": str(path), "data.user_column": user_column}).data).table
    yield _row(name, "tf-idf", runs, lambda seed: central(table, _same_split(table, seed)))
    if python is not None:
        yield _row(name, "profanity", runs, lambda seed: profanity(table, _same_split(table, seed), python))


def _row(name: str, method: str, runs: int, measure: Callable[[int], Figures]) -> Row:
    figures = [measure(seed) for seed in range(1, runs + 1)]
    aurocs, scores = [auroc for auroc, _, _ in figures], [macro_f1 for _, macro_f1, _ in figures]
    return {
        "data": name,
        "method": method,
        "auroc": statistics.fmean(aurocs),
        "auroc_range": (min(aurocs), max(aurocs)),
        "macro_f1": statistics.fmean(scores),
        "macro_f1_range": (min(scores), max(scores)),
        "runs": runs,
        "setting": figures[0][2],
    }


def page(text: str, measured: Sequence[Row]) -> str:
    """Return the page with the tables of these rows in place of those between its marks, a table for each set."""
    for name in SETS:
        marks = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        table = _table([row for row in measured if row["data"] == name])
        text = re.sub(f"{marks[0]}.*?{marks[1]}", f"{marks[0]}{table}{marks[1]}", text, flags=re.DOTALL)
    return text


_TITLES = {NO_NOISE: "no noise", "tf-idf": "central, TF-IDF", "profanity": "alt-profanity-check"}


def _table(measured: Sequence[Row]) -> str:
    lines = ["| | AUROC | macro-F1 | seeds | trained with |", "|---|---|---|---|---|"]
    for row in measured:
        title = _TITLES.get(row["method"], f"ε {row['method']}")
        auroc, score = (_spread(row[name], row[f"{name}_range"]) for name in ("auroc", "macro_f1"))  # type: ignore[literal-required]
        lines.append(f"| {title} | {auroc} | {score} | {row['runs']} | {row['setting']} |")
    return "\n".join(lines) + "\n"


def _spread(mean: float, limits: tuple[float, float]) -> str:
    spread = f" ({limits[0]:.3f} to {limits[1]:.3f})" if limits[0] < limits[1] else ""
    return f"{mean:.3f}{spread}".replace("0.", ".")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", nargs="?", type=Path, help="where the data are")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--levels", nargs="+", default=list(LEVELS), help="epsilons, or none")
    parser.add_argument("--runs", type=int, default=3, help="seeds")
    parser.add_argument("--profanity", type=Path, help="a Python with alt-profanity-check")
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--page", type=Path, help="write docs/defaults.md with the figures of this --json")
    arguments = parser.parse_args()
    if arguments.page:
        _PAGE.write_text(page(_PAGE.read_text(), json.loads(arguments.page.read_bytes())["rows"]))
        return
    if arguments.directory is None:
        parser.error("expected DIRECTORY")
    measured = []
    for row in rows(arguments.directory, arguments.sets, arguments.levels, arguments.runs, arguments.profanity):
        print(row, file=sys.stderr, flush=True)
        measured.append(row)
    if arguments.json:
        print(json.dumps({"rows": measured, "machine": machine()}))
    else:
        for name in arguments.sets:
            print(f"{name}\n{_table([row for row in measured if row['data'] == name])}")


if __name__ == "__main__":
    main()
