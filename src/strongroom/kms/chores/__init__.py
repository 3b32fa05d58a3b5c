"""What the service does by itself, without a caller.

- `schedule`: when chores are done.
- `leases`: who does a chore, and the fence that stops whoever was stopped.
- `clock_guard`: no clock that jumped destroys anything.
- `due_keys`: what is damaged stops no other key.
- `deletion`: keys whose waiting period has ended.
- `rotation`: keys whose date has come.
- `usage_flush`, `usage_recovery`: what GetKeyLastUsage tells, into the store; from the audit trail after a crash.
- `audit_retention`: what the audit trail may forget.
- `region_chores`: those of a region, from its opening to the stop.

Invariants: every chore can be interrupted between any two steps and done again; every commit of a chore that changes keys
carries its lease; whatever is destroyed was recorded before.
"""
