"""What world models that draw what they imagine share: costs, training, measures, parts."""
