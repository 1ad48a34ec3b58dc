"""The `fl-privacy` command."""

from __future__ import annotations

from privacy.cli.auditing import audit
from privacy.cli.planning import plan_command
from privacy.cli.reporting import budget, diff, report
from privacy.cli.verifying import verify
from privacy.cli.witnessing import keys, witness
from privacy.command.app import new_app

app = new_app(
    "fl-privacy",
    "For privacy reviewers, and for engineers who plan a federation. Works offline; trusts nobody.",
)

app.command("plan")(plan_command)
for command in (verify, report, budget, audit, diff, witness):
    app.command()(command)
app.add_typer(keys, name="keys")
