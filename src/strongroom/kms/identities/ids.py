"""The unique ids of identities: a prefix that tells the kind, and 16 of AWS's base-32 characters of 80 random bits.

Source: IAM user guide, "IAM identifiers", unique identifiers. An id is never given twice, as names may be.
"""

from __future__ import annotations

import base64
import os
from typing import Final

ACCESS_KEY: Final = "AKIA"
USER: Final = "AIDA"
GROUP: Final = "AGPA"
ROLE: Final = "AROA"
MANAGED_POLICY: Final = "ANPA"


def new_id(prefix: str) -> str:
    return prefix + base64.b32encode(os.urandom(10)).decode()
