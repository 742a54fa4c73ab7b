"""What Prometheus reads of runs: never from the training process."""
