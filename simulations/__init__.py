"""Federations on one machine: data, populations, transports, run directories, plots and the `fl-sim` command."""
