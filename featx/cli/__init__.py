"""The command line: each command parses, calls the function of the same name, and prints."""
