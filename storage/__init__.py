"""Append-only streams on an object store. Knows nothing of HTTP."""
