"""Files of examples to a checked table of messages."""
