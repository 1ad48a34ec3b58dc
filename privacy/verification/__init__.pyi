from .checks import Check as Check
from .directory import find_run as find_run
from .evidence import (
    EvidenceError as EvidenceError,
    Files as Files,
    Paths as Paths,
    read_audits as read_audits,
    read_checkpoint as read_checkpoint,
    read_evidence as read_evidence,
    read_ledger as read_ledger,
    read_public_key as read_public_key,
    read_report as read_report,
    read_task as read_task,
)
from .verify import verify_all as verify_all
