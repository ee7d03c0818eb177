"""What pictures of a period are drawn from: totals that the database counts, and at most so many rows of anything.

Reports (`reconciler.audit.reports`) list everything; here nothing grows with history but what the database reads.
"""
