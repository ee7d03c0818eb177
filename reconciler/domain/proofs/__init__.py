"""What proves that history was not rewritten: a Merkle tree, and its heads."""
