"""Tables joined by id, target values and their encoding, weights of rows, and resampling units."""
