"""The actor: acts in imagination, one block at a time, as its teacher showed."""
