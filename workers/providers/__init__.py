"""Speech-to-text, language models and text-to-speech: one vendor a file."""
