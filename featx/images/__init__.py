"""From a source to a `featx.tables.manifest.Manifest` and to pixels; nothing here knows of networks."""
