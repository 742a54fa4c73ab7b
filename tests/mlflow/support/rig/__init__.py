"""What the tests against a real MLflow server stand on: the server, ways to break the path to it, the comparison."""
