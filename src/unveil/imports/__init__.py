"""Tracks that others made, as results of Unveil."""
