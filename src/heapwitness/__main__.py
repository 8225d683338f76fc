"""`python -m heapwitness`."""

from heapwitness.cli.main import main

if __name__ == "__main__":
    main()
