"""The MPC agent and its parts."""
