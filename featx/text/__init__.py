"""Make text safe to show: mask the secrets in URLs, and escape control characters."""
