"""References that may see the simulator."""
