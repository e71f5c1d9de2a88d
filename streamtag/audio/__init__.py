"""Audio inputs: files, URLs, pipes and microphones become mono chunks at 16 kHz, with gaps where audio was lost.

It imports nothing else of streamtag but `errors` and `text`, and never torch. Start with `source` (what a live source
returns) and `decoder` (a file or URL as an iterator of chunks). The audio of a microphone goes from the callback of
PortAudio through `ring`, `gap_detector` and `resample`. `source` has the read loop that all live sources share.
"""
