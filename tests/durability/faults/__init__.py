"""What the tests of the fault matrix share: counting what was accepted, judging what is left, and the table."""
