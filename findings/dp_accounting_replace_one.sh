#!/usr/bin/env bash
# dp-accounting 0.6.0: two accountants of one library, given the same Gaussian event and the same relation
# REPLACE_ONE, mean different things by it. PLDAccountant takes the noise multiplier as one of adding or removing and
# doubles the sensitivity; RdpAccountant takes the relation and returns what it returns for adding or removing. An
# upper bound by RDP so lies far below the tighter accountant's.
# Seen, 10 Gaussians of noise multiplier 4 at delta 1e-5: ADD_OR_REMOVE_ONE 3.617 (RDP) and 3.341 (PLD), REPLACE_ONE
# 3.617 (RDP) and 7.511 (PLD). Ends with 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet dp-accounting==0.6.0 numpy==2.2.6
"$work/venv/bin/python" - <<'PY'
import sys

from dp_accounting import dp_event, pld, rdp
from dp_accounting.privacy_accountant import NeighboringRelation

event = dp_event.SelfComposedDpEvent(dp_event.GaussianDpEvent(4.0), 10)


def epsilon(accountant):
    return round(accountant.compose(event).get_epsilon(1e-5), 3)


seen = {
    relation.name: (
        epsilon(rdp.RdpAccountant(neighboring_relation=relation)),
        epsilon(pld.PLDAccountant(relation)),
    )
    for relation in (NeighboringRelation.ADD_OR_REMOVE_ONE, NeighboringRelation.REPLACE_ONE)
}
for relation, (by_rdp, by_pld) in seen.items():
    print(f"{relation}: epsilon {by_rdp} by RDP, {by_pld} by PLD")
sys.exit(seen != {"ADD_OR_REMOVE_ONE": (3.617, 3.341), "REPLACE_ONE": (3.617, 7.511)})
PY
