"""Daemons: when each ran and on which terms, when none did, and pauses."""
