"""Decisions: recorded, claimed by the daemon that carries them out, and judged again."""
