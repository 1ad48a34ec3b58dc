#!/usr/bin/env bash
# obstore 0.12.1: one interface, and a key that one store takes and the other refuses. `model#1` is an object like any
# other in MemoryStore; LocalStore refuses to write it, because it keeps names that end in `#` and digits for its own
# unfinished uploads. `model#a` is taken by both. What was tested in memory so fails on a disk.
# Seen: as said, the refusal is a GenericError. Ends with 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet obstore==0.12.1
"$work/venv/bin/python" - "$work" <<'PY'
import sys

import obstore
from obstore.store import LocalStore, MemoryStore

seen = {}
for store in (MemoryStore(), LocalStore(sys.argv[1])):
    for key in ("model#1", "model#a"):
        try:
            obstore.put(store, key, b"weights")
            seen[type(store).__name__, key] = "taken"
        except Exception as error:
            seen[type(store).__name__, key] = type(error).__name__
for (store, key), outcome in seen.items():
    print(f"{store}, {key}: {outcome}")
sys.exit(list(seen.values()) != ["taken", "taken", "GenericError", "taken"])
PY
