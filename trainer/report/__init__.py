"""Figures as something to read: tables beside what others published, plots, one Markdown and one HTML page."""
