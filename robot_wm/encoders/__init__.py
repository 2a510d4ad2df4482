"""Encoders: the ViT, and what makes one frozen."""
