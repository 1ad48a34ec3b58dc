"""What the four commands have in common: how they start, speak and fail."""
