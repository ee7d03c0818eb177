"""Protected aliases and a flight recorder for MLflow, with no inbound port."""

__version__ = "0.1.0"
