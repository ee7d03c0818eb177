"""What holds a target: what looks show, which tenures begin and end, and why."""
