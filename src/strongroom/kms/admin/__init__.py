"""Operators' commands, behind a Unix socket of their own that no customer can reach."""
