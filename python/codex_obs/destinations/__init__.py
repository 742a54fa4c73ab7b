"""Where the rows of a run go beside its files: a module for each destination."""
