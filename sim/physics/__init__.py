"""Clips in which one thing is impossible, for models that should be surprised."""
