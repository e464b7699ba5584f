"""What is here, by name: where a name leads, what belongs to a checkpoint, which families are served."""
