"""What every training shares: checkpoints, optimisers, averages, logs."""
