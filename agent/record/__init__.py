"""One run on disk: paths, files, events, hashes, clock. Knows nothing of what the files say."""
