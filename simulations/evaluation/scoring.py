"""`fl-sim score`: a file of texts through a published model."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_client.training.models import UnknownArchitecture
from fl_server.publishing.registry import ModelVersion, RegistryError, open_release
from privacy.base.files import write_atomically
from privacy.features.encoding import encode_texts
from simulations.config.architectures import make_known
from simulations.config.data import DataConfig
from simulations.data.dataset import Dataset, load
from simulations.data.labels import ABSENT
from simulations.evaluation.metrics import Scorer, evaluate
from simulations.outdir import OutputDirectoryError, keep_inputs


class ScoringError(ValueError):
    """A release, key or output that cannot be used; the message names the flag."""


_HEADER = ("row", "score", "abusive")


@dataclass(frozen=True)
class ScoringJob:
    """The files that `fl-sim score` reads and writes.

    Attributes:
        release: directory of the published model.
        data: the files of texts, and how they are read; labels are optional.
        out: CSV file to write.
        operator_key: file with the operator's public key in hex; None believes the key beside the release.
        architecture: `package.module:factory` of the user's own model. A release by itself never has code imported.
        force: whether earlier scores in `out` are replaced.
    """

    release: Path
    data: DataConfig
    out: Path
    operator_key: Path | None
    architecture: str | None = None
    force: bool = False


def score_file(job: ScoringJob) -> dict[str, Any]:
    """Write a line for each row of the data, in its order; a row without text has an empty score.

    Rows that `data.where` leaves out, or that have no label in a file of labels, have none either.

    Returns:
        The counts of rows, and the metrics where there are labels; for JSON.

    Raises:
        ScoringError: when the release cannot be verified or the output cannot be written.
        DataError: when the data cannot be read or used.
        ConfigError: when there is no such architecture.
        OutputDirectoryError: when the output would be written over an input, a release or anything but scores.
    """
    _check_out(job)
    version = _open(job)
    if job.architecture is not None:
        make_known(job.architecture)
    dataset = load(job.data, labels_required=False)
    table = dataset.table
    threshold = float(version.card["threshold"])
    try:
        scores = Scorer(version.task).scores(version.weights, encode_texts(version.task.features, table.texts))
    except UnknownArchitecture as error:
        raise ScoringError(f"--release: {error}; give --architecture for your own model") from error
    _write(job.out, dataset, scores, threshold)
    counts = {
        "release": version.name,
        "extrapolated": version.task.simulation.fleet is not None,
        "rows": len(table) + table.skipped,
        "without_text": table.skipped,
        **({"notes": list(dataset.notes)} if dataset.notes else {}),
    }
    if table.labels is None:
        return counts
    known = table.labels != ABSENT
    metrics = asdict(evaluate(table.labels[known], scores[known], threshold))
    return {**counts, "labelled": int(known.sum()), "threshold": threshold, **metrics}


def _check_out(job: ScoringJob) -> None:
    """Refuse an output that would be written over something."""
    out, registry = job.out, job.release.resolve().parent
    keys = () if job.operator_key is None else (("--operator-key", job.operator_key),)
    keep_inputs("--out", out, (*job.data.inputs, ("--release", job.release), ("--release", registry), *keys))
    if out.is_dir():
        raise OutputDirectoryError(f"--out: {out} is a directory; give the path of a file")
    if not out.exists():
        return
    if not job.force:
        raise OutputDirectoryError(f"--out: {out} exists; give another path, or replace it with --force")
    with out.open("rb") as file:
        start = file.readline(200)
    if not start.strip().endswith(",".join(_HEADER).encode()):
        raise OutputDirectoryError(f"--force: {out} was not made by fl-sim score; it is left alone")


def _open(job: ScoringJob) -> ModelVersion:
    try:
        key = bytes.fromhex(job.operator_key.read_text()) if job.operator_key else None
        return open_release(job.release, key)
    except (OSError, ValueError) as error:
        raise ScoringError(f"--operator-key: expected a file with 64 hex digits: {error}") from error
    except RegistryError as error:
        raise ScoringError(f"--release: {error}") from error


def _write(path: Path, dataset: Dataset, scores: NDArray[np.float64], threshold: float) -> None:
    """Write the scores, replacing the file as a whole, so that a full disk leaves no half file under the name.

    Of several files a first column has the names, and rows are counted in each.
    """
    by_row = dict(zip(dataset.table.rows.tolist(), scores.tolist(), strict=True))
    several = len(dataset.pieces) > 1
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow([*(["file"] if several else []), *_HEADER])
    first = 0
    for piece in dataset.pieces:
        for row in range(piece.columns.length):
            score = by_row.get(first + row)
            verdict = ("", "") if score is None else (f"{score:.6f}", int(score >= threshold))
            writer.writerow([*([piece.name] if several else []), row, *verdict])
        first += piece.columns.length
    try:
        write_atomically(path, text.getvalue().encode())
    except OSError as error:
        raise ScoringError(f"--out: cannot write {path}: {error.strerror or error}") from error
