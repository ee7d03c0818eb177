"""Adapters to MLflow registries: they translate and decide nothing."""
