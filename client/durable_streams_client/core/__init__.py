"""What the client knows of the protocol, as functions of their arguments: no socket, clock, randomness or task."""
