"""Requests parsed and replies built, as functions of their arguments: no asyncio, clock, randomness or socket in here."""
