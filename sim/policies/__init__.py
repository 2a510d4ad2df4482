"""Scripted behaviours, one file a task."""
