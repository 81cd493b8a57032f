"""`custom`: images, expressions and masks of your own."""
