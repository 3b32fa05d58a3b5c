"""CRYPTO WORLD: the HSM process, all code that may ever hold an unsealed key.

Reading order: `vault/` turns an EKT into key bytes and back; `domain/` holds what an EKT is sealed under; `module` decides
whether a command may run at all; `commands` runs it; `connection` and `server` carry frames; `arena`, `rinse` and
`hardening` keep the bytes from anybody else. Nobody imports this package: it is started as a process.
"""
