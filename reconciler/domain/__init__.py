"""The words of the product as values, and the rules over them. No I/O, no clock, no randomness."""
