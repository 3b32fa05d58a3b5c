"""placeholder"""
from __future__ import annotations
def add_parser(commands, add_home):  # type: ignore
    pass
