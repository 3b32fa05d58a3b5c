"""The protocols of AWS as pure functions: Signature Version 4, ARNs, the Query protocol.

Bytes go in and values or refusals come out; there is no clock, no file and no socket in this room.
"""
