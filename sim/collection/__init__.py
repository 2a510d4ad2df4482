"""Recording of episodes."""
