"""What is raised for a file that holds no image."""

from heapwitness.errors import HeapwitnessError


class BadImage(HeapwitnessError):
    """A file that cannot be read as an image."""
