"""The gate between pretraining and training: what the encoder knows."""
