"""Networks with a module for each mechanism, and their configurations."""
