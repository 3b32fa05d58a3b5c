"""NORMAL WORLD: the KMS service. It holds records and sealed tokens, decides who may, and asks the HSM.

Reading order is a request's: `wire` → `gate` → `operations` → `keys` → `hsm_link` → back, with `audit` before the answer.
"""
