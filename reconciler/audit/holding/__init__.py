"""What holds governed targets: as looks saw it, what explains it, and what a named person accepted."""
