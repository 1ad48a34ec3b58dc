"""From texts to an update: features, models, DP-SGD by Opacus."""
