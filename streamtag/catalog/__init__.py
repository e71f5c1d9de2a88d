"""Tagging a whole collection: which files it has, what is known of them, who hears the rest, and the tables."""
