"""Slow transcriptions of published equations, against which the real code is tested."""
