"""A result put right by hand: a log of edits, and what it makes of a state."""
