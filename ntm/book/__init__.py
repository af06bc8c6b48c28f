"""What only the book's chapters and the tools use: how they look, and how their saved experiments are read."""
