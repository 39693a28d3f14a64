"""Text that is safe to show: without the secrets of URLs, and escaped where it is inserted."""
