"""What was found, in the forms that other tools read."""
