"""What world models that learn from raw frames share: pictures, costs, training, measures."""
