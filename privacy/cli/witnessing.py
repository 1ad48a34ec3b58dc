"""`fl-privacy witness` and `keys`: for whoever watches over a ledger that is not theirs."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from privacy.cli.output import Json, check_writable, show_json
from privacy.cli.verifying import Ledger, Operator
from privacy.command.exits import EXIT_FAILED, fail

if TYPE_CHECKING:
    from privacy.ledger.ledger import SignedHead
    from privacy.ledger.witness import Checkpoint


keys = typer.Typer(no_args_is_help=True, help="Ed25519 keys of witnesses and reviewers.")


def witness(
    *,
    ledger: Ledger,
    operator: Operator,
    key: Annotated[Path, typer.Option(help="The witness's own key, from `fl-privacy keys new`.")],
    checkpoint: Annotated[Path, typer.Option(help="The last checkpoint that this witness signed; is replaced.")],
    as_json: Json = False,
) -> None:
    """Cosign the ledger's head, if it continues what this witness cosigned before.

    Whoever cannot see into the operator's machine runs this, from time to time, on a copy of the ledger, and hands the
    checkpoint to reviewers. The checkpoint file is the witness's memory: without it, a rewritten past goes unnoticed.

    Examples:
    [bold]fl-privacy witness --ledger ledger.db --operator operator.pub --key witness.key --checkpoint
    checkpoint.json[/bold]

    Exit codes: 0 cosigned, 1 refused: the ledger was cut, rewritten or is another's, 2 bad input.
    """
    from privacy.base.files import write_atomically
    from privacy.cli.secrets import read_key
    from privacy.ledger.ledger import SignedHead
    from privacy.ledger.witness import WitnessError, cosign
    from privacy.verification.evidence import EvidenceError, read_checkpoint, read_ledger, read_public_key

    check_writable("--checkpoint", checkpoint, [key, ledger, operator])
    try:
        signer, operator_key = read_key("--key", key), read_public_key("--operator", operator)
        last = read_checkpoint(checkpoint) if checkpoint.exists() else None
        entries, heads = read_ledger(ledger)
        if not heads:
            raise EvidenceError("--ledger: expected at least one entry, got none")
        head = SignedHead.model_validate_json(heads[-1])
    except (EvidenceError, ValueError) as error:
        fail(str(error))
    try:
        proof = _proof(last, entries, head)
        made = cosign(last, head, proof, operator_key, witness=signer, time=int(time.time()))
    except WitnessError as error:
        fail(f"refused: {error}", EXIT_FAILED)
    write_atomically(checkpoint, made.canonical() + b"\n")
    seen = last.head.size if last else 0
    if as_json:
        show_json({"size": head.size, "root": head.root, "seen_before": seen, "witness": signer.public.hex()})
    else:
        typer.echo(f"{head.size} entries cosigned, {seen} of them seen before; root {head.root}")


@keys.command("new")
def new_command(
    path: Annotated[Path, typer.Argument(help="Where the secret key goes; the public one gets .pub beside it.")],
) -> None:
    """Make a key pair; the secret file is readable by its owner alone and is never overwritten.

    Examples:
    [bold]fl-privacy keys new witness.key[/bold]
    """
    from privacy.cli.secrets import new_key
    from privacy.verification.evidence import EvidenceError

    try:
        signer = new_key(path)
    except EvidenceError as error:
        fail(str(error))
    typer.echo(f"{signer.public.hex()}  {path}.pub")


@keys.command("show")
def show_command(
    key: Annotated[str, typer.Argument(help="A public key: hex, or a file of it.")], *, as_json: Json = False
) -> None:
    """Show a public key in hex, with the short name that messages and statements use.

    Examples:
    [bold]fl-privacy keys show operator.pub[/bold]
    """
    from privacy.base.signing import key_id
    from privacy.verification.evidence import EvidenceError, read_public_key

    try:
        public = read_public_key("key", key)
    except EvidenceError as error:
        fail(str(error))
    if as_json:
        show_json({"public_key": public.hex(), "key_id": key_id(public)})
    else:
        typer.echo(f"{public.hex()}  {key_id(public)}")


def _proof(last: Checkpoint | None, entries: list[bytes], head: SignedHead) -> list[bytes]:
    """Prove from the entries themselves that the ledger continues what the witness saw last.

    Raises:
        WitnessError: when the head is not the root of the entries.
    """
    from privacy.ledger.merkle import consistency_proof, leaf_hash, root_of
    from privacy.ledger.witness import WitnessError

    leaves = [leaf_hash(entry) for entry in entries]
    if (len(leaves), root_of(leaves).hex()) != (head.size, head.root):
        raise WitnessError(f"head: expected the root of the {len(leaves)} entries, got another")
    if last is None:
        return []
    return consistency_proof(leaves, last.head.size) if last.head.size <= len(leaves) else []
