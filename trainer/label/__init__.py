"""Labels for audio that has none: public taggers (teachers) predict the tags of recordings, changed and unchanged.

Contains the teachers, the recordings they label, and the labelled data set that results. May import `trainer.data`,
`trainer.features`, `trainer.files` and `trainer.processes`. Start reading at `labelling`.
"""
