"""How the world model is trained: configuration, stages, their losses, the trainer."""
