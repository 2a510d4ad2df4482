"""Data formats: how episodes lie on a disk, ours and other people's."""
