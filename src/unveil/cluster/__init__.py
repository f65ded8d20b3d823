"""Clustering of attention rows: `paper` as published, `fast` for people."""
