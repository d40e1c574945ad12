"""What the speed claims rest on: every module prints a table, and JSON on request."""
