"""Models of any form: their likelihood as generated code, and stage 3 for them."""
