"""Server optimisers: from a released, noised sum to the next global model."""
