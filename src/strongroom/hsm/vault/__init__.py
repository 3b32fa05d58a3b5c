"""The vault: every line that turns a token into key bytes or key bytes into a token. At most 400 lines in all."""
