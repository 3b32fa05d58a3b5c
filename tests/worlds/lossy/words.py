"""What a recorded program tells its watchers: it goes to a file that the recorder sees too, and so has its place among the
writes and syncs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Words:
    """Tells what may have happened and what was acknowledged: for each subject, a value."""

    def __init__(self, root: Path) -> None:
        self._file = os.open(root / "words", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def say(self, word: str, subject: str, value: Any) -> None:
        os.write(self._file, f"{json.dumps([word, subject, value])}\n".encode())
