"""WebRTC as the gateway's edge and the worker's link to a model both speak it."""
