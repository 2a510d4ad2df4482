"""What causal predictors of whole-frame latents share: the contract, the training, the artefact."""
