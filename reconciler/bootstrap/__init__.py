"""The composition root: the only package that names adapters.

Each module makes one thing, so that a command loads the adapters that it uses and no others.
"""
