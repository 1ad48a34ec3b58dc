"""The device's side of a round."""
