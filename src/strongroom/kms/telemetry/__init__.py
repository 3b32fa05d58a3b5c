"""What a worker tells of itself while it works: numbers for Prometheus, lines for a log; never a secret.

No number and no request's line names a key. The service's own words do, where a key's fate is what they tell: that it was
deleted or rotated, or is damaged.

Invariants: a request costs its counts and nothing else (no clock of its own, no formatting, no write); nothing here makes
the event loop wait for a disk, a pipe or a peer; what cannot be told is dropped and counted.

`telemetry` is what the dispatcher calls, `tallies` where it counts; `families` is the table of metrics, `snapshots` how
workers tell each other, `exposition` the text form, `listener` the port, `reporting` all of these in a worker; `lines`
writes log lines from a thread, `request_log` and `service_log` make them.
"""
