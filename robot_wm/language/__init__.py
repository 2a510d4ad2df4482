"""Goals in words."""
