"""From a source to a `featx.tables.Manifest` and to pixels; nothing here knows of networks."""
