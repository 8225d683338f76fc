"""Starting a program with the engine inside, and taking its events."""
