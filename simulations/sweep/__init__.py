"""Many runs of one configuration: every combination of some keys' values, several seeds each, and what came of them."""
