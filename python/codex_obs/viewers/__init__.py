"""Ways to look at runs. They know reading only: nothing here writes a run."""
