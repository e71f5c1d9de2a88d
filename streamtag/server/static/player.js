/** Plays a file of this page while it is tagged: what is shown belongs to what is heard. */
import { hello, refresh, view } from "./state.js";
import { $, calm, clamp, put, timecode } from "./util.js";

const STEP_S = 5; // of the arrow keys

const files = new Map(); // by the stream's name: {file, seconds, title}
const audio = new Audio();
let loaded = null; // the entry of `files` that `audio` holds
let isActive = false; // the position counts: it was played or chosen
let trouble = "";

/** A stream that begins, or goes on, is this file. */
export function addFile(name, file, seconds, title) {
  if (files.get(name)?.file !== file) files.set(name, { file, seconds, title });
}

/** Called when its row is dismissed. */
export function removeFile(file) {
  for (const [name, entry] of files)
    if (entry.file === file) {
      if (entry === loaded) unload();
      files.delete(name);
    }
  refresh();
}

export const hasFile = (name) => files.has(name);
const fileOf = (stream) => (stream?.history.isFile ? files.get(stream.name) : undefined);
export const fileSeconds = (stream) => fileOf(stream)?.seconds ?? 0;
export const isPlaying = () => !audio.paused;

/** The stream time that is heard, or where the reader stopped; null: the reader does not listen to this stream. */
export function heardTime(stream) {
  const entry = fileOf(stream);
  return entry && entry === loaded && isActive ? clamp(audio.currentTime, 0, entry.seconds) : null;
}

function load(entry) {
  if (entry === loaded) return;
  unload();
  loaded = entry;
  audio.src = URL.createObjectURL(entry.file);
}

function unload() {
  if (!loaded) return;
  audio.pause();
  URL.revokeObjectURL(audio.src);
  audio.removeAttribute("src");
  loaded = null;
  isActive = false;
  trouble = "";
  view.listening = false;
}

async function play() {
  isActive = true;
  try {
    await audio.play();
  } catch (error) {
    if (error.name === "AbortError") return; // paused meanwhile
    trouble = "This browser cannot play this file.";
    isActive = false;
    refresh();
  }
}

/** Plays the file of a stream, or pauses it. Return whether there is one. */
export function togglePlay(stream) {
  const entry = fileOf(stream);
  if (!entry) return false;
  load(entry);
  if (audio.paused) play();
  else audio.pause();
  return true;
}

/** Play from a time on. Return whether this stream is a file. */
export function playFrom(stream, time) {
  if (!seekTo(stream, time)) return false;
  if (audio.paused) play();
  return true;
}

function seekTo(stream, time) {
  const entry = fileOf(stream);
  if (!entry) return false;
  load(entry);
  isActive = true;
  audio.currentTime = clamp(time, 0, Math.max(0, entry.seconds - 0.05));
  refresh();
  return true;
}

/** Move by a key. Return whether this stream is a file. */
export function seekByKey(stream, key) {
  const entry = fileOf(stream);
  if (!entry) return false;
  const now = heardTime(stream) ?? 0;
  const to = {
    ArrowLeft: now - STEP_S,
    ArrowRight: now + STEP_S,
    PageUp: now - 2 * STEP_S,
    PageDown: now + 2 * STEP_S,
    Home: 0,
    End: entry.seconds,
  }[key];
  return seekTo(stream, to);
}

/** Back to the file as a whole. Return whether there was anything to stop. */
export function stopPlaying() {
  if (!isActive) return false;
  audio.pause();
  audio.currentTime = 0;
  isActive = false;
  refresh();
  return true;
}

/** Show the player of the stream, if it is a file; another stream is not listened to. */
export function showPlayer(stream) {
  const entry = fileOf(stream);
  $("player").hidden = !entry;
  if (loaded && loaded !== entry) unload();
  if (!entry) return;
  const now = heardTime(stream) ?? 0,
    seek = $("seek");
  $("play").dataset.state = audio.paused ? "paused" : "playing";
  put($("play-word"), audio.paused ? "Play" : "Pause");
  $("play").setAttribute("aria-label", `${audio.paused ? "Play" : "Pause"} ${entry.title}`);
  seek.max = entry.seconds.toFixed(2);
  if (document.activeElement !== seek || !audio.paused || Math.abs(seek.value - now) > 0.5)
    seek.value = now.toFixed(2);
  seek.setAttribute("aria-valuetext", `${timecode(now)} of ${timecode(entry.seconds)}`);
  put($("position"), `${timecode(now)} / ${timecode(Math.round(entry.seconds))}`);
  put(
    $("player-words"),
    trouble ||
      (stream.history.end < now - 1
        ? "What is heard is not tagged yet."
        : isActive
          ? ""
          : "Click in the picture to hear it from there."),
  );
}

/** moved(): called about as often as the screen shows something new while a file is played. */
export function addPlayerListeners(current, moved) {
  let frame = 0;
  const step = () => {
    frame = 0;
    moved();
    if (!audio.paused)
      frame = requestAnimationFrame(calm.matches ? () => setTimeout(step, 1000 * hello.hop_s) : step);
  };
  audio.onplay = audio.onpause = () => {
    view.listening = !audio.paused;
    view.ranked = -Infinity;
    frame ||= requestAnimationFrame(step);
    refresh();
  };
  audio.onseeked = () => refresh();
  audio.onended = () => {
    isActive = false;
    view.ranked = -Infinity;
    refresh();
  };
  $("play").onclick = () => togglePlay(current());
  $("seek").oninput = (event) => seekTo(current(), Number(event.target.value));
}
