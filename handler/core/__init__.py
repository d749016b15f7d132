"""Requests parsed and replies built: functions of their arguments. No asyncio, clock, randomness or socket in here."""
