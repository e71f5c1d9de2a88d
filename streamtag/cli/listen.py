"""`streamtag listen`."""

from __future__ import annotations

import typer

from streamtag.cli import options
from streamtag.cli.app import EXIT_CODES, app, guarded

LISTEN_EPILOG = f"""\b
Examples:
  streamtag listen
  streamtag listen --input "USB" --serve 8765        then open http://127.0.0.1:8765/ in a browser
  streamtag listen --from https://example.org/radio.mp3 --json --top 5
  arecord -f S16_LE -r 48000 | streamtag listen --from - --rate 48000 --format s16le

Keys: q quits, r lets the network forget what it heard, space freezes the view.

{EXIT_CODES}
"""


@app.command("listen", short_help="Tag what a microphone hears, or a live stream.", epilog=LISTEN_EPILOG)
def _listen(
    input: options.Input = None,
    channel: options.Channel = None,
    source: options.From = None,
    rate: options.Rate = None,
    format: options.Format = None,
    channels: options.Channels = None,
    name: options.Name = None,
    json: options.JsonLines = False,
    top: options.TopLive = None,
    tags: options.Tags = None,
    threshold: options.Threshold = None,
    serve: options.Serve = None,
    token: options.Token = None,
    max_clients: options.MaxClients = None,
    allow_origin: options.AllowOrigin = None,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    osc: options.Osc = None,
    record: options.Record = None,
    save_audio: options.SaveAudio = None,
    seconds: options.Duration = None,
    reset_on_silence: options.ResetOnSilence = None,
    model: options.Model = None,
    device: options.ComputeDevice = options.Device.auto,
) -> None:
    """Tag what a microphone hears, or a live stream, until it is stopped.

    On a terminal the strongest tags are shown as they come; a pipe gets a line of text a second, or messages with
    --json. `streamtag devices` lists the inputs.
    """
    if source is not None and (input is not None or channel is not None):
        raise typer.BadParameter("--from takes the place of the microphone: leave out --input and --channel")
    if source != "-" and (rate, format, channels) != (None, None, None):
        raise typer.BadParameter("--rate, --format and --channels describe samples on standard input: add --from -")
    if source == "-" and (rate is None) != (format is None):
        raise typer.BadParameter("samples need both --rate and --format; without them any audio container is read")
    if source == "-" and channels is not None and rate is None:
        raise typer.BadParameter("--channels goes with --rate and --format")

    def work() -> int:
        from streamtag.audio.pcm import PcmFormat
        from streamtag.cli.listen_run import ListenRequest, run
        from streamtag.sinks.osc import OscTarget

        request = ListenRequest(
            input=input,
            channel=channel,
            source=source,
            raw=None if rate is None or format is None else PcmFormat(rate, format.value, channels or 1),
            name=name,
            json=json,
            top=top,
            tags=options.tag_names(tags),
            threshold=threshold,
            serve=options.serving(serve, token, max_clients, allow_origin, tls_cert, tls_key),
            osc=None if osc is None else OscTarget.parse(osc),
            record=record,
            save_audio=save_audio,
            seconds=seconds,
            reset_on_silence=reset_on_silence,
            model=model,
            device=device.value,
        )
        return run(request)

    raise typer.Exit(guarded(work))
