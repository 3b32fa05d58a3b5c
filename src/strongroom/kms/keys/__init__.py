"""KMS keys as records: the directory that finds and caches them, and the lifecycle that says what a state allows."""
