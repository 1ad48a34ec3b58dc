"""The device: local examples, Opacus, mechanism and secure-aggregation client, embedded in a host application."""
