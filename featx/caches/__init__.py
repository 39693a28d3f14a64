"""What to do with a cache as a whole; ``featx.cache`` has the functions, ``featx cache`` the commands."""
