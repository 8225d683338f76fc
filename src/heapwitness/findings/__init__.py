"""What is found: the records that all stages speak of."""
