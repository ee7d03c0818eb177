"""Reports as pages that need nothing but a browser: the extra `report`, which no other command imports."""
