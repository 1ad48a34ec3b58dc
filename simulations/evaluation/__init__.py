"""How good a model is: scores, metrics, and what an attack came to."""
