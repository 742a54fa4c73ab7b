//! Records become bytes here, exactly those that Python's `json.dumps` would give.
