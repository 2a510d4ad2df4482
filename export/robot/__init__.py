"""The last hand before the motors."""
