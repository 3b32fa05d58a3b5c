"""Starts the actors as processes, watches them, and stores the HSM's sealed state.

It knows of them the boundary's control messages only.

Reading order: `home` (what lies where), `users` (who runs as whom), `hsm_control` (first start, restart), `supervise`.
"""
