"""The endpoints, one file a tag."""
