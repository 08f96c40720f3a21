"use strict";
// Everything from outside is put in as text, never as markup.
const $ = (id) => document.getElementById(id);
const VIEWS = ["timeline", "nodes", "breakers", "limits", "rollouts", "jobs", "delivery", "audit"];
const ROLES = ["viewer", "operator", "admin"];
let role = "viewer";

/** Control characters, and those that turn the direction of text, as what they are. */
const plain = (value) => String(value ?? "").replace(/[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g,
  (one) => "\\u{" + one.codePointAt(0).toString(16) + "}");

/** An element with text or children. */
function make(tag, content, kind) {
  const made = document.createElement(tag);
  if (kind) made.className = kind;
  for (const part of [content ?? []].flat()) made.append(part instanceof Node ? part : plain(part));
  return made;
}

/** Changes text and look only where they differ, so that nothing flickers and selections stay. */
function put(element, value, kind = "") {
  const text = plain(value);
  if (element.textContent !== text) element.textContent = text;
  if (element.className !== kind) element.className = kind;
}

/** Makes the children one per item. Each is kept by its key, so that the focus stays. */
function sync(parent, items, key, create, fill) {
  const wanted = new Set(items.map((item) => String(key(item))));
  const old = new Map();
  for (const child of Array.from(parent.children)) {
    if (wanted.has(child.dataset.key)) old.set(child.dataset.key, child); else child.remove();
  }
  let place = parent.firstElementChild;
  for (const item of items) {
    const name = String(key(item));
    const child = old.get(name) ?? create(item);
    child.dataset.key = name;
    fill(child, item);
    if (child === place) place = place.nextElementSibling; else parent.insertBefore(child, place);
  }
}

/** Fills cells of a row: texts, or texts with a look. */
function cells(row, values) {
  while (row.cells.length < values.length) row.append(make("td"));
  values.forEach((value, at) => {
    if (value === undefined) return;
    const [text, kind] = Array.isArray(value) ? value : [value, ""];
    put(row.cells[at], text, kind);
  });
}

/** A table of rows of cells; without any, what the note says. */
function table(id, items, key, values, empty) {
  note(id + "-note", items.length ? "" : empty);
  $(id + "-rows").closest(".wide").hidden = !items.length;
  sync($(id + "-rows"), items, key, () => make("tr"), (row, item) => cells(row, values(item)));
}

function note(id, text, isBad) {
  $(id).hidden = !text;
  put($(id), text, isBad ? "note bad" : "note");
}

const say = (text) => put($("said"), text);
const count = (value) => Number(value ?? 0).toLocaleString("en");
const size = (bytes) => (bytes === null || bytes === undefined ? "?" : (bytes / 1048576).toFixed(1) + " MiB");
const two = (number) => String(number).padStart(2, "0");
function clock(text, short) {
  const at = new Date(text);
  if (!text || Number.isNaN(at.getTime())) return "–";
  const time = [at.getHours(), at.getMinutes(), at.getSeconds()].map(two).join(":");
  return short ? time : at.getFullYear() + "-" + two(at.getMonth() + 1) + "-" + two(at.getDate()) + " " + time;
}
const LOOKS = { emergency: "bad", alert: "bad", critical: "bad", error: "bad", warning: "warn" };
const lookOf = (priority) => LOOKS[String(priority).toLowerCase()] ?? "";

/** Asks the collector; whoever is not let in any more logs in again. */
async function ask(url, options) {
  let answer;
  try { answer = await fetch(url, options); } catch { throw new Error("The collector does not answer."); }
  if (answer.status === 401) { location.href = "/login"; return new Promise(() => {}); }
  const body = await answer.json().catch(() => ({}));
  if (!answer.ok) throw new Error(body.error ?? "The collector answered " + answer.status + ".");
  return body;
}
const change = (url, body) => ask(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: body && JSON.stringify(body) });

// Where one is: `#VIEW?KEY=VALUE`, and `event=NUMBER` for the details of an event above it.
function place() {
  const old = location.hash.match(/^#alert-(\d+)$/);
  if (old) return { view: "timeline", params: new URLSearchParams({ event: old[1] }) };
  const [name, query] = location.hash.slice(1).split("?");
  return { view: VIEWS.includes(name) ? name : "timeline", params: new URLSearchParams(query ?? "") };
}
function link(view, params) {
  const query = new URLSearchParams(params).toString();
  return "#" + view + (query ? "?" + query : "");
}

/** Opens or closes the details of an event where one is. */
function show(number) {
  const { view, params } = place();
  if (number === null) params.delete("event"); else params.set("event", number);
  location.hash = link(view, params);
}

/** The connection, and what is done about it. */
function online(text) {
  put($("link"), text);
  $("alarm").hidden = true;
  document.body.classList.remove("stale");
}
function offline(text) {
  put($("link"), "not live", "bad");
  $("alarm").hidden = false;
  put($("alarm"), text);
  document.body.classList.add("stale");
}
