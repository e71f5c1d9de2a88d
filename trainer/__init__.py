"""Training of streamtag's models: a folder of clips with targets goes in, a model file comes out."""
