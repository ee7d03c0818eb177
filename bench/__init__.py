"""Measurements on a real MLflow server: `make bench`."""
