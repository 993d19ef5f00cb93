"""The catalogue: which paths, in which versions, lie in which objects, confirmed when."""
