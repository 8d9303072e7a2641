"""Hand-written models of the field, as functions that return a `spice.equations.SymbolicModel`."""
