"""The command line: thin. Talks to the admin socket and the public API; starts the other rooms' own programs by exec."""
