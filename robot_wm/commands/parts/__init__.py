"""What several commands need: the encoder, the latents and the world model, found or made."""
