"""Agents and time: what a plan costs, searches that fit a deadline, plans that arrive late."""
