"""DINO-WM: a predictor of all the frozen encoder's tokens, without a projector."""
