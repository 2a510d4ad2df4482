"""What every training shares: checkpoints, optimizers, averages, logs."""
