"""One file per API operation: the folder listing is the API reference.

Each file has `demands(request)`, what the caller must be allowed to do, and `run(service, call, request)`, which gets its
admissions in the order of the demands. `table` lists them. What several share: `requests` (checks), `metadata` (a key as the
API shows it), `aliases`, `tags`, `key_policies` (their rules), `key_changes`, `key_states` (changes of a key's record),
`data_keys`.
"""
