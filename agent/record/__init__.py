"""One run on disk: paths, files, events, hashes, clock. Knows nothing of the files' meaning."""
