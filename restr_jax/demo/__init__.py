"""The page of `restr serve`: type a sentence, see the mask follow."""
