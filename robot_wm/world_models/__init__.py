"""World models, a package each."""
