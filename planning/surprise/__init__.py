"""How well a model's surprise tells possible clips from impossible ones."""
