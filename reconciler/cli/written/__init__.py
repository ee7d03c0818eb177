"""What commands write, as a whole or not at all, also where a signal ends them."""
