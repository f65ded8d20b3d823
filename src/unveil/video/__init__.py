"""Anything that holds frames in, upright frames out."""
