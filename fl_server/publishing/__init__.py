"""Published models: report, release directory, channels."""
