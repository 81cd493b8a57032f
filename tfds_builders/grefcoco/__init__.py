"""`grefcoco`: gRefCOCO, expressions that mean any number of objects."""
