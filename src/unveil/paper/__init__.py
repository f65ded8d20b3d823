"""The published clustering, alone and readable."""
