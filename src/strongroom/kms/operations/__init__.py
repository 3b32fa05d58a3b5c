"""One file per API operation: the folder listing is the API reference.

Each file has `demands(request)`, what the caller must be allowed to do, and `run(service, call, request)`, which gets its
admissions in the order of the demands. `table` lists them; what several share is in `requests` and `metadata`.
"""
