"""The process beside the trainer, which does what needs a package of somebody else's."""
