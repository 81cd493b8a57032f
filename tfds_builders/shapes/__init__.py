"""`shapes`: scenes of coloured shapes with expressions that need every word."""
