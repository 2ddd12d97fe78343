"""Tasks from fields of work: each brings its formulas, units and documents, and the sources that these come from."""
