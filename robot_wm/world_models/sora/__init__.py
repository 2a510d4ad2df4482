"""A video model in the manner of Sora: a latent of frames, and a diffusion transformer over time."""
