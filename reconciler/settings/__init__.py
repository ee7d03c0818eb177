"""The configuration: what can be set, how it is read, what is wrong with it."""
