#!/usr/bin/env bash
# safetensors 0.8.0 (with numpy 2.2.6): safetensors.numpy.save writes an array's memory in the order in which it lies,
# under the shape that it is seen in. A transposed or a Fortran-ordered array comes back with its values in other
# places, of the right shape and dtype, without a warning. 0.7.0 gives back what was saved.
# Seen: 0.8.0 changes [[0 3] [1 4] [2 5]] to [[0 1] [2 3] [4 5]]; 0.7.0 does not. Ends with 1 if that is no longer so.
# What to do: np.ascontiguousarray before every save.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
cat > "$work/round_trip.py" <<'PY'
import sys

import numpy as np
from safetensors.numpy import load, save

matrix = np.arange(6, dtype=np.float32).reshape(2, 3)
for name, array in (("transposed", matrix.T), ("Fortran order", np.asfortranarray(matrix))):
    back = load(save({"w": array}))["w"]
    same = bool((back == array).all())
    print(f"{name}: saved {array.tolist()}, read {back.tolist()}, same: {same}")
    if same != (sys.argv[1] == "same"):
        sys.exit(1)
PY
for pinned in "0.7.0 same" "0.8.0 other"; do
    set -- $pinned
    "$work/venv/bin/pip" install --quiet "safetensors==$1" numpy==2.2.6
    echo "safetensors $1"
    "$work/venv/bin/python" "$work/round_trip.py" "$2"
done
