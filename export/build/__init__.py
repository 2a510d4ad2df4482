"""Making a bundle; needs torch."""
