"""The audit trail: what was asked, by whom, how it ended; chained, and the chain's heads signed by the HSM.

`events` is the shape of a record, `chain` the bytes of a line, `segments` and `reserve` the files, `log` one writer's
chain, `heads` the signed heads of all writers, `verify` the offline check. No name in an event ever names a file.
"""
