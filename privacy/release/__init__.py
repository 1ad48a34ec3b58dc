"""A sum that was paid for, and the signed files of the model that came of it."""
