"""The process that runs cycles on a schedule: what is in force, signals, systemd, metrics."""
