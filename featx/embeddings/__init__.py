"""Images through networks into the cache, and out of it by id."""
