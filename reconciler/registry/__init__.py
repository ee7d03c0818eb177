"""Adapters to MLflow registries. They translate and decide nothing."""
