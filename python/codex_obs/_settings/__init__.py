"""The settings of a run, each spelled in one table, and the one place that reads the environment."""
