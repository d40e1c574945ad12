"""The relay backend: a Realtime speech-to-speech model hears the caller and answers."""
