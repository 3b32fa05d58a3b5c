"""Others use the machine at the same time: how long an example takes says nothing here."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
