"""Requests: which are open, why they waited, and what people did with them."""
