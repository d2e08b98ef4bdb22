"""The saved calls of two programs -> the first step that is not the same, in its weights, forward or backward."""
