"""What proves that nobody rewrote the record, as an auditor checks it."""
