"""Planning at two time scales: JEPA over blocks, and over strides of blocks (H-JEPA)."""
