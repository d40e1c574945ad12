"""The WebSocket transport: JSON and binary messages of `/ws` <-> PCM frames."""
