"""The embedded node, and its connection to a Flower SuperLink."""
