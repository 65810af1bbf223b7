"""The declaration, options, printing and errors that all commands share."""
