"""The distributed discrete Gaussian mechanism: clipping, rotation, rounding, noise on devices, and correlated noise."""
