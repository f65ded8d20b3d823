"""Where the stages meet: a video in, its objects out."""
