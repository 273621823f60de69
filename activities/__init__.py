"""Activities: the calls of an envelope, carried out."""
