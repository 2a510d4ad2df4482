"""World models side by side."""
