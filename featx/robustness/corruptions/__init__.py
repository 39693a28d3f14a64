"""Corruptions of images: noise, blur, weather, compression and geometry, each at five severities."""
