"""The `fl-server` command."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from privacy.command.app import new_app
from privacy.command.exits import EXIT_FAILED, EXIT_STOPPED, fail
from privacy.task.purpose import Purpose

# Commands import what they need when they run, so that help, and errors about flags, take no time.

app = new_app("fl-server", "The aggregation server of a federation, and its enrolment authority.")

AuthorityDirectory = Annotated[Path, typer.Option("--authority", help="Directory of the enrolment authority.")]
ListDays = Annotated[int, typer.Option(min=1, max=365, help="How long devices accept the revocation list.")]


@app.command()
def dev(
    out: Annotated[Path, typer.Option(help="A new directory for keys, logs, ledger and the published model.")],
    devices: Annotated[int, typer.Option(min=3, max=64, help="Devices in one host process.")] = 3,
    rounds: Annotated[int, typer.Option(min=1, max=1000, help="Rounds to train.")] = 2,
    stage_timeout: Annotated[float, typer.Option(min=1, help="Seconds that devices have for each stage.")] = 30.0,
) -> None:
    """Run a whole federation on this machine: SuperLink over TLS, SuperExec, devices; ends with a published model.

    Examples:
    [bold]fl-server dev --out runs/dev[/bold]

    [bold]fl-server dev --out runs/larger --devices 8 --rounds 5[/bold]

    Exit codes: 0 published, 1 failed, 2 bad input, 130 interrupted. Nothing is left running in any case; on Linux not
    even by `kill -9`.
    """
    from fl_server.dev import DevFederation, Scale
    from fl_server.flower import ProcessError

    if out.exists():
        fail(f"--out: expected a new path, {out} exists")
    _unwind_on(signal.SIGTERM, signal.SIGHUP)
    try:
        scale = Scale(devices, rounds, stage_timeout)
        version = DevFederation(out.resolve(), scale, typer.echo).run()
    except KeyboardInterrupt:
        fail("interrupted; everything is stopped", EXIT_STOPPED)
    except (ProcessError, OSError, ValueError) as error:
        fail(str(error), EXIT_FAILED)
    typer.echo(f"published {version.name}: {version.path}")


@app.command()
def authority(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="A new directory; keep it from the server.")],
    population: Annotated[str, typer.Option(help="The population it enrols, as in its tasks.")],
    list_days: ListDays = 30,
) -> None:
    """Make an enrolment authority: its key, and a revocation list that revokes nobody yet.

    The server gets copies of `authority.pub` and `revocations.bin`, and never `authority.key`.

    Example: [bold]fl-server authority authority --population messenger[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input.
    """
    from fl_server.enrolment import Authority

    with _naming("DIR, --population"):
        made = Authority.create(directory, population, _in_days(list_days))
    typer.echo(f"authority {made.signer.public.hex()} of {made.population}: {directory}")


@app.command()
def enrol(
    devices: Annotated[
        list[Path],
        typer.Argument(metavar="DEVICE_DIRECTORY_OR_REQUEST...", help="Made by `fl-client init`; one a directory."),
    ],
    authority_directory: AuthorityDirectory,
    operator: Annotated[Path, typer.Option(help="The operator's public key: a file with 64 hex digits.")],
    policy: Annotated[Path | None, typer.Option(help="The devices' policy, in JSON; see docs/enrolment.md.")] = None,
    days: Annotated[int, typer.Option(min=1, max=3650, help="How long the certificates are valid.")] = 365,
) -> None:
    """Certify devices: check each `enrolment-request.bin`, write `enrolment.json` beside it. When one fails, none.

    Examples:
    [bold]fl-server enrol --authority authority --operator operator.pub devices/alice devices/bob[/bold]

    [bold]fl-server enrol --authority authority --operator operator.pub --policy policy.json --days 90 alice[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input.
    """
    from fl_server.enrolment.authority import DEFAULT_POLICY, Authority, read_policy, read_public_key

    with _naming("--authority"):
        opened = Authority.open(authority_directory)
    with _naming("--operator"):
        operator_key = read_public_key(operator)
    with _naming("--policy"):
        device_policy = read_policy(policy) if policy else DEFAULT_POLICY
    with _naming("DEVICE_DIRECTORY_OR_REQUEST"):
        certificates = opened.enrol(devices, operator_key, device_policy, _in_days(days))
    for path, certificate in certificates.items():
        typer.echo(f"{path}: {certificate.identity.hex()}, until {_date(certificate.not_after)}")


@app.command()
def revoke(
    authority_directory: AuthorityDirectory,
    identities: Annotated[
        list[str] | None,
        typer.Argument(metavar="[IDENTITY]...", help="Hex digits, or a request or directory."),
    ] = None,
    list_days: ListDays = 30,
) -> None:
    """Write the next revocation list, with these devices added; without any, renew the list before it runs out.

    A device is named by the 64 hex digits that `enrol` printed, or by the path of its request or directory. The server
    gets a copy of `revocations.bin`.

    Examples:
    [bold]fl-server revoke --authority authority devices/alice[/bold]

    [bold]fl-server revoke --authority authority --list-days 60[/bold]

    Exit codes: 0 done, 1 failed, 2 bad input.
    """
    from fl_server.enrolment import Authority, read_identity

    with _naming("IDENTITY"):
        revoked = frozenset(map(read_identity, identities or ()))
    with _naming("--authority"):
        revocations = Authority.open(authority_directory).revoke(revoked, _in_days(list_days))
    number, count = revocations.number, len(revocations.identities)
    typer.echo(f"revocation list {number}: {count} revoked, valid until {_date(revocations.valid_until)}")


@app.command()
def culprits(
    server: Annotated[Path, typer.Argument(metavar="DIR", help="The server's directory, with its log of rounds.")],
) -> None:
    """List devices that rounds have shown to be at fault: a line each time, for the enrolment authority to judge.

    The server leaves them out for a time by itself. To revoke is for good: `fl-server revoke IDENTITY`.

    Example: [bold]fl-server culprits runs/dev[/bold]

    Exit codes: 0 done, also where there is none, 2 bad input.
    """
    from fl_server.service import ServerDirectory, ServiceError, read_records
    from privacy.secagg.server import RecordError

    try:
        records = read_records(ServerDirectory(server))
    except (ServiceError, RecordError, OSError) as error:
        fail(str(error))
    for record in records:
        for culprit in record.culprits:
            typer.echo(f"{culprit.identity} round {record.round} {culprit.stage}: {culprit.fault}: {culprit.reason}")


@app.command("export-ledger")
def export_ledger_command(
    ledger: Annotated[str, typer.Argument(help="A path, or postgresql://user@host/database; password by PGPASSWORD.")],
    out: Annotated[Path, typer.Option(help="A new SQLite file for privacy reviewers.")],
) -> None:
    """Copy the privacy ledger, as it stands, to one file that `fl-privacy` reads.

    Examples:
    [bold]fl-server export-ledger runs/dev/ledger.db --out ledger.db[/bold]

    [bold]fl-server export-ledger postgresql://fl@db/ledger?sslmode=verify-full --out ledger.db[/bold]

    Exit codes: 0 done, 2 bad input.
    """
    from fl_server.ledger_store import LedgerStoreError, export_ledger

    try:
        count = export_ledger(ledger, out)
    except LedgerStoreError as error:
        fail(str(error))
    typer.echo(f"{count} entries: {out}")


@app.command("declare-uncharged")
def declare_uncharged(
    server: Annotated[Path, typer.Argument(help="The server's directory: its task, keys and ledger.")],
    purpose: Annotated[Purpose, typer.Option(help="What the data were used for.")],
    what: Annotated[str, typer.Option(help="What was done, in words for a privacy reviewer.")],
    why: Annotated[str, typer.Option(help="Why it costs nothing, or why its cost is not known.")],
) -> None:
    """Name a use of the population's data that no charge covers; every later report lists it, and nothing removes it.

    Examples:
    [bold]fl-server declare-uncharged runs/dev --purpose tuning --what "12 runs on public data" --why "no device
    took part"[/bold]

    Exit codes: 0 done, 1 the ledger does not verify, 2 bad input.
    """
    from fl_server.ledger_store import LedgerStoreError
    from fl_server.service import ServerDirectory, ServiceError, open_ledger
    from privacy.ledger import LedgerError

    try:
        open_ledger(ServerDirectory(server)).declare_uncharged(purpose, what, why)
    except (ServiceError, LedgerStoreError, ValueError) as error:
        fail(str(error))
    except LedgerError as error:
        fail(str(error), EXIT_FAILED)
    typer.echo(f"named in the ledger: {purpose}: {what}")


@contextmanager
def _naming(argument: str) -> Iterator[None]:
    """Ends the command when the authority finds `argument` wrong, or when the disk fails."""
    from fl_server.enrolment import AuthorityError

    try:
        yield
    except AuthorityError as error:
        fail(f"{argument}: {error}")
    except OSError as error:
        fail(str(error), EXIT_FAILED)


def _in_days(days: int) -> int:
    return int(time.time()) + days * 86_400


def _date(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d}"


def _unwind_on(*numbers: signal.Signals) -> None:
    """End as by Ctrl-C, which stops every process; `nohup` stays what it is."""
    for number in numbers:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
