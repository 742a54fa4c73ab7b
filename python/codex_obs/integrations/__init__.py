"""Callbacks and loggers for training frameworks, one module each, which imports its framework.

Each writes the run that it is given, else the current run, else one of its own, which it closes when the framework is
done.
"""
