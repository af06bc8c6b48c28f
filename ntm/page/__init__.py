"""What runs in a page, and its Python side. Nothing that computes imports it."""
