"""A trained encoder as a folder for sentence-transformers: `folder` makes it, with its model card and configuration."""
