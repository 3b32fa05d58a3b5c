"""What the suites share: a running installation, an in-process HSM, and readers of what lies on disk."""
