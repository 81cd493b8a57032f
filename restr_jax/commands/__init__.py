"""Parts of the command `restr` that other commands share."""
