"""Commands of the scenes."""
