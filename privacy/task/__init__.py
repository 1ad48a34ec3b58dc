"""The signed statement of what devices are asked to do, and one frozen type per state of what they send."""
