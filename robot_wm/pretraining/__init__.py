"""Pretraining of the encoder: objectives, masks, trainer, collapse metrics."""
