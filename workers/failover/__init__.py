"""Failover within a stage: its provider and its fallbacks as one provider, under deadlines and breakers.

`chains.py` makes a stage's chain; it has the Protocol of the stage, so that nothing else knows of failover. A provider
that fails, or is silent beyond the stage's `deadline_s`, is replaced inside the same turn, without a word lost or said
twice. One that failed several times in a row (`workers.breaker`) is left alone for a while, by all sessions of the
process, and the next is asked at once.

When none is left, the chain raises `trunkline.errors.ProvidersExhausted`, a `ProviderError` whose `failures` and text
name each provider and why: from `Transcriber.finish`, and from iterating over what `reply` and `speak` return. What was
yielded until then stands. A chain of one raises it, too. No other ProviderError leaves a chain. A provider's code is
called in `foreign.py` only, where faults in it become ProviderErrors.
"""
