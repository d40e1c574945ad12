"""Transports: a wire protocol on one side, PCM frames on the other. Nothing here knows an AI."""
