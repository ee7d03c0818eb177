"""Evidence as it is stored: field by field behind salted digests, so that a field can be removed."""
