"""A predictor with a latent variable: several futures where one prediction is not enough."""
