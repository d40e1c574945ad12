"""Turn-taking: voice activity, endpointing and the turn table."""
