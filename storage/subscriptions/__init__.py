"""Subscriptions: durable cursors that wake workers, by webhook or through a stream. Protocol sections 6 and 7.

    service → registry (section 6), leases (section 7), runner (timers, hints) → wakes (look, mint, deliver)
    wakes → interest (who listens), dues (hints), places (tails), records (compare-and-swap) → core, log, bucket

One object is one subscription and its only lock; whatever is to be done with it follows from that object, the tails of
its streams and the time (`core/wake.py`). Hints under `due/` tell any process when to look (`core/due.py`).
"""
