"""What world models that generate pictures have in common: blocks, windows, costs, training."""
