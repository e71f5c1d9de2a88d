"""Reports: tables beside published scores, and plots, as one Markdown and one HTML page.

Imports `trainer.systems` and otherwise only works on figures, which are plain JSON values.
Start reading at `document`.
"""
