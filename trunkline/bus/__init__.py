"""The event bus: typed messages in lanes, calls on a dispatch stream, over Redis or Valkey."""
