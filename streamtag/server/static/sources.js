/** Starts sending sound from this page: the buttons, dropped files, the token. */
import { ingest, senders } from "./ingest.js";
import { tagMicrophone } from "./microphone.js";
import { tagFiles } from "./soundfile.js";
import { $, put } from "./util.js";

const holdsFiles = (event) => Boolean(ingest.health) && [...(event.dataTransfer?.types ?? [])].includes("Files");

function overPage(event) {
  if (!holdsFiles(event)) return;
  event.preventDefault();
  event.dataTransfer.dropEffect = "copy";
  const count = [...event.dataTransfer.items].filter((item) => item.kind === "file").length;
  put($("drop-words"), count > 1 ? `Tag these ${count} files` : "Tag this file");
  $("drop").hidden = false;
  clearTimeout(ingest.dropping); // dragleave is not reliable; dragover repeats
  ingest.dropping = setTimeout(() => {
    $("drop").hidden = true;
  }, 500);
}

function dropped(event) {
  $("drop").hidden = true;
  if (!holdsFiles(event)) return;
  event.preventDefault();
  tagFiles([...event.dataTransfer.files]);
}

export function addSenderListeners() {
  $("tag-mic").onclick = tagMicrophone;
  $("tag-files").onclick = () => $("files").click();
  $("files").onchange = () => {
    tagFiles([...$("files").files]);
    $("files").value = ""; // so that the same file can be chosen again
  };
  $("key").onsubmit = (event) => {
    event.preventDefault();
    ingest.token = $("key-word").value.trim();
    $("key").hidden = true;
    for (const sender of senders) if (sender.phase === "token") sender.connect();
  };
  addEventListener("dragenter", overPage);
  addEventListener("dragover", overPage);
  addEventListener("drop", dropped);
  addEventListener("pagehide", () => {
    for (const sender of [...senders]) sender.abandon();
  });
}
