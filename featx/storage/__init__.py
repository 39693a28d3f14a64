"""Where embeddings are kept: segments that are seen whole or not at all, and what keeps them in order.

Nothing in here knows a network or an image.
"""
