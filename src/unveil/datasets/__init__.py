"""Annotated videos: readers of the official layouts, and a synthetic benchmark."""
