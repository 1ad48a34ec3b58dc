"""`fl-sim score`: a file of texts through a published model."""

from __future__ import annotations

import csv
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fl_client.training.features import encode_texts
from fl_client.training.models import UnknownArchitecture
from fl_server.publishing.registry import ModelVersion, RegistryError, open_release
from simulations.config.architectures import make_known
from simulations.data.dataset import Table, load
from simulations.evaluation.metrics import Scorer, evaluate


class ScoringError(ValueError):
    """A release, key or output that cannot be used; the message names the flag."""


@dataclass(frozen=True)
class ScoringJob:
    """The files that `fl-sim score` reads and writes.

    Attributes:
        release: directory of the published model.
        data: file of texts.
        out: CSV file to write.
        text_column: the column of texts.
        label_column: the column of labels, which may be absent.
        operator_key: file with the operator's public key in hex; None believes the key beside the release.
        architecture: `package.module:factory` of the user's own model. A release by itself never has code imported.
    """

    release: Path
    data: Path
    out: Path
    text_column: str
    label_column: str
    operator_key: Path | None
    architecture: str | None = None


def score_file(job: ScoringJob) -> dict[str, Any]:
    """Write a line for each row of the data, in its order; a row without text has an empty score.

    Returns:
        The counts of rows, and the metrics where there are labels; for JSON.

    Raises:
        ScoringError: when the release cannot be verified or the output cannot be written.
        DataError: when the data cannot be read or used.
        ConfigError: when there is no such architecture.
    """
    version = _open(job)
    if job.architecture is not None:
        make_known(job.architecture)
    table = load(job.data, job.text_column, job.label_column, require_labels=False)
    threshold = float(version.card["threshold"])
    try:
        scores = Scorer(version.task).scores(version.weights, encode_texts(version.task.features, table.texts))
    except UnknownArchitecture as error:
        raise ScoringError(f"--release: {error}; give --architecture for your own model") from error
    _write(job.out, table, scores, threshold)
    counts = {
        "release": version.name,
        "extrapolated": version.task.simulation.fleet is not None,
        "rows": len(table) + table.skipped,
        "without_text": table.skipped,
    }
    if table.labels is None:
        return counts
    return {**counts, "threshold": threshold, **asdict(evaluate(table.labels, scores, threshold))}


def _open(job: ScoringJob) -> ModelVersion:
    try:
        key = bytes.fromhex(job.operator_key.read_text()) if job.operator_key else None
        return open_release(job.release, key)
    except (OSError, ValueError) as error:
        raise ScoringError(f"--operator-key: expected a file with 64 hex digits: {error}") from error
    except RegistryError as error:
        raise ScoringError(f"--release: {error}") from error


def _write(path: Path, table: Table, scores: NDArray[np.float64], threshold: float) -> None:
    """Write the scores, replacing the file as a whole, so that a full disk leaves no half file under the name."""
    by_row = dict(zip(table.rows.tolist(), scores.tolist(), strict=True))
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        with temporary.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["row", "score", "abusive"])
            for row in range(len(table) + table.skipped):
                score = by_row.get(row)
                writer.writerow([row, *(("", "") if score is None else (f"{score:.6f}", int(score >= threshold)))])
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise ScoringError(f"--out: cannot write {path}: {error.strerror or error}") from error
