"""The commands: flags, help and handler of each in one file. Knows every room; no room knows it."""
