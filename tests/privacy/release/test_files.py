"""A model's tensors come back as they were, however they lie in memory."""

from __future__ import annotations

import numpy as np

from privacy.release.files import pack_tensors, unpack_tensors
from privacy.task.task import ModelSpec
from tests.support.tasks import make_task


def test_a_vector_that_is_a_column_of_something() -> None:
    model: ModelSpec = make_task().model
    columns = np.arange(2 * model.dimension, dtype=np.float32).reshape(model.dimension, 2)
    np.testing.assert_array_equal(unpack_tensors(pack_tensors(columns[:, 1], model), model), columns[:, 1])
