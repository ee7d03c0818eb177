"""Protected aliases and a flight recorder for MLflow, with no inbound port."""
