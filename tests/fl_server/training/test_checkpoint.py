"""A checkpoint comes back as it was, however its arrays lie in memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from fl_server.training.checkpoint import Checkpoint, CheckpointError, CheckpointFile
from strategies.fedavg import ModelState

_GRID = np.arange(12, dtype=np.float64).reshape(3, 4)


@pytest.mark.parametrize("noise", [_GRID, _GRID.T, np.asfortranarray(_GRID), _GRID[:, ::2]])
def test_arrays_come_back(noise: NDArray[np.float64], tmp_path: Path) -> None:
    weights = np.arange(10, dtype=np.float32)[::2]
    file = CheckpointFile(tmp_path / "checkpoint", "ab" * 32)
    file.save(Checkpoint(3, ModelState.start(weights, 1.0), extra={"counts": np.arange(6)[::-1]}, noise=noise))
    back = file.load()
    assert back is not None
    assert back.noise is not None
    np.testing.assert_array_equal(back.noise, noise)
    np.testing.assert_array_equal(back.state.weights, weights)
    np.testing.assert_array_equal(back.extra["counts"], np.arange(6)[::-1])


def test_a_checkpoint_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    file = CheckpointFile(path, "ab" * 32)
    file.save(Checkpoint(3, ModelState.start(np.zeros(4, np.float32), 1.0)))
    whole = path.read_bytes()
    for other in (b'\\"version\\": 3', b'\\"Version\\": 2'):
        changed = whole.replace(b'\\"version\\": 2', other)
        assert changed != whole
        path.write_bytes(changed)
        with pytest.raises(CheckpointError, match=r"expected a checkpoint of version 2, got (3|none); finish the run"):
            file.load()
