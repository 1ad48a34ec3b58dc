"""Ways to compute what devices learn, all with the same result."""
