"""The saved runs of many ranks: put together, against each other, or against the run of one process."""
