"""Scores of any method's masks on any of the datasets, each protocol named."""
