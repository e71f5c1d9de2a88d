"""`streamtag file`."""

from __future__ import annotations

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, app, guarded

FILE_EPILOG = f"""\b
Examples:
  streamtag file song.mp3
  streamtag file "music/**/*.flac" --csv tags.csv --plot tags.png
  streamtag file song.mp3 --realtime --serve 8765    then open http://127.0.0.1:8765/ in a browser
  streamtag file talk.mp4 --labels talk.txt --tags "male voice,female voice"
  curl -s https://example.org/song.ogg | streamtag file - --json --top 5

{EXIT_CODES}
"""


@app.command("file", epilog=FILE_EPILOG)
def _file(
    sources: options.Sources,
    json: options.JsonLines = False,
    csv: options.Csv = None,
    labels: options.Labels = None,
    plot: options.Plot = None,
    top: options.Top = None,
    tags: options.Tags = None,
    threshold: options.Threshold = None,
    realtime: options.Realtime = False,
    serve: options.Serve = None,
    token: options.Token = None,
    max_clients: options.MaxClients = None,
    allow_origin: options.AllowOrigin = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Tag sounds: files, folders, URLs, standard input.

    On a terminal the strongest tags are shown while the sound is read; the results follow on standard output.
    """

    def work() -> int:
        from streamtag.cli.file_run import FileRequest, run

        request = FileRequest(
            sources=tuple(sources),
            json=json,
            csv=csv,
            labels=labels,
            plot=plot,
            top=top,
            tags=options.tag_names(tags),
            threshold=threshold,
            realtime=realtime,
            serve=options.serving(serve, token, max_clients, allow_origin, tls_cert, tls_key),
            model=model,
            device=device.value,
        )
        return run(request)

    raise typer.Exit(guarded(work))
