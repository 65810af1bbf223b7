"""What all commands share: their declaration, options, printing and errors."""
