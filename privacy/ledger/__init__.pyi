from .entries import (
    Account as Account,
    Charge as Charge,
    Digest as Digest,
    LedgerError as LedgerError,
    LedgerInvalid as LedgerInvalid,
    LedgerState as LedgerState,
    Receipt as Receipt,
)
from .ledger import Ledger as Ledger, SignedHead as SignedHead, replay as replay
from .limits import BudgetExhausted as BudgetExhausted, limits as limits, worst_in_window as worst_in_window
from .merkle import consistency_proof as consistency_proof, leaf_hash as leaf_hash, root_of as root_of
from .witness import Checkpoint as Checkpoint, WitnessError as WitnessError, cosign as cosign
