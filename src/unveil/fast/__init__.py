"""The default mode: linear in the frames, flat in memory, with a background."""
