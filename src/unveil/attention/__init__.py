"""The spatio-temporal block, and the rows of its attention."""
