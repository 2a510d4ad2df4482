"""The action-conditioned JEPA over a frozen encoder."""
