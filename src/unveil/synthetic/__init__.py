"""A renderer of clips with exact masks, and the benchmark made of them."""
