"""The log over history: rows enter it as they are added, heads leave it, and who has one can have it verified."""
