"""From a source to a `featx.tables.tables.Manifest` and to pixels; nothing here knows of networks."""
