"""Frames to keys: the frozen backbone, and its weights by name."""
