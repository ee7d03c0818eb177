"""The product's vocabulary as values, and the rules over them. No I/O, no clock, no randomness."""
