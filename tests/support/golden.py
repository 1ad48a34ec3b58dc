"""Golden files: what earlier versions wrote, one directory a version; `tests/golden/make.py` makes more."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from privacy.ledger.witness import Checkpoint
from privacy.report.model import EpsilonReport
from privacy.task.task import TaskSpec
from privacy.verification.evidence import Files
from tests.support.paths import ROOT

VERSIONS = sorted((ROOT / "tests" / "golden").glob("v*"))


@dataclass(frozen=True)
class GoldenRun:
    """One finished run."""

    path: Path

    @property
    def operator(self) -> bytes:
        return bytes.fromhex((self.path / "operator.pub").read_text())

    @property
    def authority(self) -> bytes:
        return bytes.fromhex((self.path / "authority.pub").read_text())

    @property
    def release(self) -> Path:
        [release] = (self.path / "release").iterdir()
        return release

    @property
    def task(self) -> TaskSpec:
        return TaskSpec.model_validate_json((self.release / "task.json").read_bytes())

    def lines(self, name: str) -> list[bytes]:
        """Without line breaks; none when there is no such file."""
        path = self.path / name
        return path.read_bytes().split(b"\n")[:-1] if path.exists() else []

    def evidence(self) -> Files:
        """All that a reviewer brings."""
        report, checkpoint = (self.release / "report.json").read_bytes(), self.path / "checkpoint.json"
        return Files(
            operator=self.operator,
            entries=self.lines("entries.jsonl"),
            heads=self.lines("heads.jsonl"),
            task=self.task,
            task_bytes=(self.release / "task.json").read_bytes(),
            authority=self.authority,
            lines=self.lines("rounds.jsonl") or None,
            report=EpsilonReport.model_validate_json(report),
            report_bytes=report,
            release={path.name: path.read_bytes() for path in self.release.iterdir()},
            checkpoint=Checkpoint.model_validate_json(checkpoint.read_bytes()) if checkpoint.exists() else None,
            witness=bytes.fromhex((self.path / "witness.pub").read_text()) if checkpoint.exists() else None,
        )


RUNS = [GoldenRun(path.parent) for version in VERSIONS for path in sorted(version.glob("*/entries.jsonl"))]


def named(item: GoldenRun | Path) -> str:
    """Of a test: which files it reads."""
    path = item.path if isinstance(item, GoldenRun) else item
    return str(path.relative_to(ROOT / "tests" / "golden"))
