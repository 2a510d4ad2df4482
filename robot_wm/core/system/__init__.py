"""The machine: cores, processes, OpenGL, progress, and its check-up."""
