"""How long a message may wait for others of its lane: an entry costs three processes more than the messages in it."""

PATIENCE_S = 0.008
"""A caller's audio, where chunks of 32 ms are judged and somebody waits for it."""

LEISURE_S = 0.03
"""What nobody hears or sees later by that: audio behind audio, transcripts, what may be forgotten, what was heard."""
