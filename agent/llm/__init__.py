"""The author of plans and edits behind one gateway: an endpoint, a record or the recipes. Starts no process."""
