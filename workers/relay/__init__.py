"""The cascade backend: speech-to-text -> language model -> text-to-speech."""
