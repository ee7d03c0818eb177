"""The kinds of check, one file each. `base.py` says what a kind is made of, `kinds.py` lists them."""
