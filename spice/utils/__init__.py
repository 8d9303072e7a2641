"""Tables in and out, and figures."""
