"""The `fl-privacy` command."""

from __future__ import annotations

import typer

from privacy.cli.auditing import audit
from privacy.cli.planning import plan_command
from privacy.cli.reporting import budget, diff, report
from privacy.cli.verifying import verify
from privacy.cli.witnessing import keys, witness

app = typer.Typer(
    name="fl-privacy",
    help="For privacy reviewers, and for engineers who plan a federation. Works offline; trusts nobody.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

app.command("plan")(plan_command)
for command in (verify, report, budget, audit, diff, witness):
    app.command()(command)
app.add_typer(keys, name="keys")
