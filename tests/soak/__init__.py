"""Hubs and many real devices on this machine, under load, while servers are killed, started anew and replaced: ``python -m tests.soak``."""
