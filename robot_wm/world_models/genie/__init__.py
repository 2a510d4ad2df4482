"""Genie: video tokens, latent actions learned without labels, masked-token dynamics."""
