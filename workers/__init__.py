"""The session processes: they claim calls from the bus and answer them."""
