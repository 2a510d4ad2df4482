"""robot_wm: reach a goal image by planning in the latent space of a frozen video encoder."""

__version__ = "0.1.0"
