"""The wall: every message, session and format that both worlds share. Pure values and functions, no I/O.

One page lists all that crosses: `messages` (inside a session), `control` (supervisor to HSM), `frames` (outermost).
"""
