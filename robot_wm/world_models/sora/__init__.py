"""A video model in the manner of Sora: latents of frames, a diffusion transformer over time."""
