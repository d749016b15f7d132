"""What the log decides, as functions of their arguments: no asyncio, clock, randomness, socket or SDK in here."""
