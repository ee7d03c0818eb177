"""The composition root: the only package that names adapters.

Each module builds one thing, so that a command loads only the adapters that it uses.
"""
