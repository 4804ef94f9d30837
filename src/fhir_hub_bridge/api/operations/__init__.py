"""One operation, one module, named as the standard names it."""
