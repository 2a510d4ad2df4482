"""Pretraining of the encoder: objectives, trainer, monitors."""
