"""What a model may do in a call: one file a tool, found by its name."""
