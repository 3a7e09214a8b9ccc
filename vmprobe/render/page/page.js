"use strict";

// What the parts of the page share: the facts, packed arrays, figures as text, and what the page looks like.
const page = { facts: JSON.parse(document.getElementById("facts").textContent) };

{
  const TYPES = { i4: Int32Array, u4: Uint32Array, u2: Uint16Array, u1: Uint8Array };
  const UNITS = ["KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

  page.canUnpack = "DecompressionStream" in window;

  /** Unpack gzip in base64 from the data block `id`, whose text is dropped: it is not needed twice. */
  page.unpack = async (id) => {
    const block = document.getElementById(id);
    const text = atob(block.textContent);
    block.textContent = "";
    const bytes = new Uint8Array(text.length);
    for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Response(stream).arrayBuffer();
  };

  /** The array that `where` ({type, at, length}) names in an unpacked buffer. */
  page.arrayIn = (buffer, where) => new TYPES[where.type](buffer, where.at, where.length);

  page.count = (value) => value.toLocaleString("en-US");

  /** Bytes in the unit that leaves one to four digits before the point, as the terminal has them. */
  page.bytes = (value) => {
    let scaled = Math.abs(value);
    if (scaled < 1024) return `${value} B`;
    for (const unit of UNITS) {
      scaled /= 1024;
      if (Math.round(scaled * 10) / 10 < 1024 || unit === "EiB") {
        return `${value < 0 ? "-" : ""}${scaled.toFixed(1)} ${unit}`;
      }
    }
    return "";
  };

  /** An element with text, never markup: names come from hosts. */
  page.element = (name, text, className) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (className) made.className = className;
    return made;
  };
}

// Light, dark, and paper, which is light whatever the screen is.
{
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const paper = window.matchMedia("print");
  const listeners = [];
  let printing = paper.matches;

  /** "light" or "dark": the name of the colours that are shown now. */
  page.scheme = () => (dark.matches && !printing ? "dark" : "light");
  page.printing = () => printing;
  page.onScheme = (listener) => listeners.push(listener);

  const tell = () => listeners.forEach((listener) => listener());
  const print = (now) => {
    if (now === printing) return;
    printing = now;
    for (const each of document.querySelectorAll("details")) {
      if (now) each.dataset.was = each.open ? "open" : "";
      each.open = now || each.dataset.was === "open";
    }
    tell();
  };
  dark.addEventListener("change", tell);
  paper.addEventListener("change", (event) => print(event.matches));
  window.addEventListener("beforeprint", () => print(true));
  window.addEventListener("afterprint", () => print(false));
}
