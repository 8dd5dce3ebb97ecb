"""A job behind a fence, within limits: it knows commands, folders and processes, and may not know what they train."""
