"""World models: one family a package."""
