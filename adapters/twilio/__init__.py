"""The telephone transport: the messages of Twilio Media Streams <-> PCM frames."""
