"""Transition requests for an open-source MLflow server: `mlflow server --app-name transition-requests`.

Gives the server the `transition-requests` endpoints of Databricks' workspace registry, and protects governed targets
from direct changes. It stores what the tags protocol stores, so a server can go from tags to the app and back.
"""
