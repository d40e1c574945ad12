"""PCM frames, streaming resampling, G.711 and WAV."""
