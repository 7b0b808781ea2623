"""Speed and memory, each figure next to a ceiling measured in the same run: `make bench`, or `python -m bench NAME`."""
