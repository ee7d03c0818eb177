"""`db check`: the schema against the migrations, and rows against what they say of themselves."""
