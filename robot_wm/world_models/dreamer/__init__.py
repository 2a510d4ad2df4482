"""Dreamer V3 (Hafner et al. 2023): a recurrent state-space model, an actor that dreams in it."""
