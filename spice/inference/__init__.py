"""Stage 3: equations refined by the likelihood of the choices."""
