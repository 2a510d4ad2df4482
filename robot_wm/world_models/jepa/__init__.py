"""The house world model: it predicts the compact latent of a frozen encoder."""
