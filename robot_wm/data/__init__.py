"""Episodes, latents, sequences: what trainings read."""
