"""From a policy and evidence to a verdict, by the engine of today and by those before it."""
