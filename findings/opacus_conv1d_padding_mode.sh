#!/usr/bin/env bash
# opacus 1.6.0 (torch 2.13.0): GradSampleModule takes nn.Conv1d with padding_mode "reflect" or "circular" and computes
# gradients of single examples as if the padding were zeros: no error, no warning, right shape, wrong values, so that
# clipping bounds something that is not the gradient. nn.Conv1d with zero padding is right. ModuleValidator finds
# nothing to mend in either.
# Seen, against torch.autograd one example at a time: relative error below 1e-5 for zeros, over 0.1 for the others.
# Ends with 1 if that is no longer so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet opacus==1.6.0 torch==2.13.0
"$work/venv/bin/python" -W ignore - <<'PY'
import sys

import torch
from opacus.grad_sample import GradSampleModule
from opacus.validators import ModuleValidator
from torch import nn


def relative_error(padding_mode):
    torch.manual_seed(0)
    layer = nn.Conv1d(3, 4, kernel_size=5, padding=2, padding_mode=padding_mode)
    examples = torch.randn(6, 3, 12)
    weights = torch.randn(4, 12)
    expected = []
    for example in examples:
        layer.zero_grad()
        (layer(example[None]) * weights).sum().backward()
        expected.append(layer.weight.grad.clone())
    layer.zero_grad()
    found = ModuleValidator.validate(layer, strict=False)
    wrapped = GradSampleModule(layer, loss_reduction="sum")
    (wrapped(examples) * weights).sum().backward()
    truth = torch.stack(expected)
    error = float((wrapped._module.weight.grad_sample - truth).norm() / truth.norm())
    print(f"padding_mode {padding_mode}: relative error {error:.2g}, validator: {found}")
    return error, found


seen = {mode: relative_error(mode) for mode in ("zeros", "reflect", "circular")}
right = seen["zeros"][0] < 1e-5 and all(seen[mode][0] > 0.1 for mode in ("reflect", "circular"))
sys.exit(not (right and all(found == [] for _, found in seen.values())))
PY
