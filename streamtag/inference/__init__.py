"""Samples in, tag frames and events out: for one stream, or for many streams in one batch.

`session` is one stream, `overlapped` the same on two cores, `batch` many (with `hop_buffer`, and `worker_pool` for
worker processes), `events` finds when concepts turn on and off, `pipeline` turns samples into messages, `timeline`
keeps a stream's frames. May import `protocol`, `model` and `audio`. Start reading in `frame` and `session`.
"""
