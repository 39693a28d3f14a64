"""What can be built: architectures, their weights and preprocessing, and networks that give features."""
