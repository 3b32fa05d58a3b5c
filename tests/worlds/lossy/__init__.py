"""A simulated disk that loses what nobody synced, for the store, the audit trail and the files of the supervisor."""
