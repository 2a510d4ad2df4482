"""A latent for another encoder and other looks, learned from the latent of a finished model."""
