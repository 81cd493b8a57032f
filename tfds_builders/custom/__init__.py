"""`custom`: a user's own images, expressions and masks."""
