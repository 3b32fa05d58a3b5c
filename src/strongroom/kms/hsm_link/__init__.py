"""The service's side of the wall: sessions, frames, and the one place where a permit becomes a command."""
