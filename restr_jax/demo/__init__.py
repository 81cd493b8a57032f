"""The page of `restr serve`: type an expression and see its mask."""
