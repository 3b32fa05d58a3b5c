"""`strongroom iam why` of a request whose sender nobody knew: it is in no audit trail, but its worker may remember it.

Every other request is told of by the program that reads the trail.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

from strongroom.cli.admin_socket import AdminRefusedError, ask_worker, workers


def tell_of_stranger(arguments: Sequence[str], find_home: Callable[[str | None], Path]) -> bool:
    """Print why a request was not authenticated; False where no worker that runs knows of one."""
    parser = argparse.ArgumentParser(add_help=False, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("request_id", nargs="?")
    parser.add_argument("--home")
    try:
        parsed, others = parser.parse_known_args(arguments)
    except argparse.ArgumentError:
        return False
    if parsed.request_id is None or others:
        return False
    home = find_home(parsed.home)
    for worker in workers(home):
        try:
            lines = ask_worker(home, worker, "why-unauthenticated", request_id=parsed.request_id)
        except (AdminRefusedError, OSError, json.JSONDecodeError):
            continue
        if lines:
            print("\n".join(lines))
            return True
    return False
