"""What is written of a segmentation: masks, records, pictures."""
