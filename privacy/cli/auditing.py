"""`fl-privacy audit`: attacks on the code that ships, under one task."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from privacy.audit.plan import AuditPlan
from privacy.cli.output import Json, check_writable, show, show_json, write
from privacy.cli.tables import audits_table
from privacy.command.exits import EXIT_FAILED, fail

if TYPE_CHECKING:
    from privacy.report.model import AuditPart


_STAGES = 3
_FEWEST, _MOST_CANARIES = 20, 100_000
_DEFAULT = AuditPlan()


def audit(
    *,
    task: Annotated[Path, typer.Option(help="The task's JSON, as in a release.")],
    trials: Annotated[int, typer.Option(min=_FEWEST, help="Rounds with one canary, and without.")] = _DEFAULT.trials,
    battery: Annotated[int, typer.Option(min=_FEWEST, help="Rounds of each kind, for each fault.")] = _DEFAULT.battery,
    canaries: Annotated[
        int, typer.Option(min=_FEWEST, max=_MOST_CANARIES, help="Devices in the audit by one run.")
    ] = _DEFAULT.canaries,
    out: Annotated[Path | None, typer.Option(help="Write the results here, for `fl-privacy report`.")] = None,
    as_json: Json = False,
) -> None:
    """Attack the mechanism under a task's parameters, and hold what an attacker learns against what is claimed.

    It runs the code of this installation, not that of a server: it can refute a claim, and never proves one.

    Examples:
    [bold]fl-privacy audit --task runs/demo/release/stable/task.json[/bold]

    [bold]fl-privacy audit --task task.json --trials 100000 --out audits.json --json[/bold]

    Exit codes: 0 nothing refuted, 1 a claim is refuted, 2 bad input or nothing to audit.
    """
    from privacy.audit import NothingToAudit, TaskAudits, audit_task
    from privacy.base.randomness import SystemRandomness
    from privacy.mechanism.mechanism import MechanismError
    from privacy.verification.evidence import EvidenceError, read_task

    check_writable("--out", out, [task])
    try:
        spec = read_task("--task", task)
        running = audit_task(spec, AuditPlan(trials, battery, canaries), SystemRandomness())
        parts = tuple(_with_progress(running))
    except (EvidenceError, NothingToAudit, MechanismError) as error:
        fail(str(error))
    audits = TaskAudits(task=spec.id, audits=parts)
    if out is not None:
        write("--out", out, audits.canonical())
    if as_json:
        show_json(audits.model_dump(mode="json"))
    else:
        show(audits_table(parts))
    if not all(part.passed for part in parts):
        raise typer.Exit(EXIT_FAILED)


def _with_progress(parts: Iterable[AuditPart]) -> Iterable[AuditPart]:
    console = Console(stderr=True)
    return track(parts, "attacking", _STAGES, console=console, transient=True, disable=not console.is_terminal)
