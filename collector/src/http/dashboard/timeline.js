// The timeline: what is stored, then what comes, as rows and as a picture.
const PAGE = 100;
const KEPT = 500;
let items = [], kept = KEPT, next = null, feed = null, asked = 0, lost = false, drawn = false, loaded = "";

/** What the page of where one is asks the collector for. */
function question(params) {
  const query = new URLSearchParams();
  for (const [name, value] of params) {
    if (!$("filter").elements[name] || !value) continue;
    const isTime = name === "since" || name === "until";
    const at = isTime ? new Date(value) : null;
    if (!isTime) query.set(name, value); else if (!Number.isNaN(at.getTime())) query.set(name, at.toISOString());
  }
  return query;
}

function merge(found) {
  const all = new Map([...items, ...found].map((item) => [item.number, item]));
  items = [...all.values()].sort((a, b) => b.number - a.number);
  if (items.length > kept) {
    items.length = kept;
    next = items[kept - 1].number;
  }
  if (!drawn) {
    drawn = true;
    requestAnimationFrame(() => { drawn = false; showTimeline(); });
  }
}

function showTimeline() {
  const filtered = question(place().params).size > 0;
  note("timeline-note", items.length ? "" : next !== null ? "Nothing among those looked at so far: go on with “Older”."
    : filtered ? "Nothing fits." : "Nothing has happened. When an agent raises an alert, it appears here.");
  $("events").closest(".wide").hidden = !items.length;
  $("more").hidden = next === null;
  sync($("events"), items, (item) => item.number, createEvent, (row, item) => {
    cells(row, [clock(item.time), [item.priority, lookOf(item.priority)], item.kind, item.node, item.what, item.about]);
    put(row.cells[6].firstElementChild, item.text, "clamp");
  });
  sync($("rules"), [...new Set(items.map((item) => item.rule))].sort(), (rule) => rule, () => make("option"), (option, rule) => { option.value = rule; });
  drawStrip(items);
}

function createEvent(item) {
  const row = make("tr");
  while (row.cells.length < 6) row.append(make("td"));
  row.append(make("td", make("div")));
  row.tabIndex = 0;
  row.onclick = () => show(item.number);
  row.onkeydown = (event) => {
    if (event.key === "Enter") show(item.number);
    else if (event.key === "ArrowDown" || event.key === "j") row.nextElementSibling?.focus();
    else if (event.key === "ArrowUp" || event.key === "k") row.previousElementSibling?.focus();
    else return;
    event.preventDefault();
  };
  return row;
}

/** Reads from the store; an answer that another question has overtaken counts for nothing. */
async function load(before) {
  const mine = before ? asked : ++asked;
  const query = question(place().params);
  query.set("limit", PAGE);
  if (before) query.set("before", before);
  try {
    const got = await ask("/timeline?" + query);
    if (mine !== asked) return;
    next = got.next;
    if (before) kept = Math.max(kept, items.length + PAGE);
    merge(got.events);
  } catch (error) {
    if (mine === asked) note("timeline-note", error.message, true);
  }
}

function listen() {
  feed?.close();
  const own = feed = new EventSource("/timeline/stream?" + question(place().params));
  own.onopen = () => {
    online("live");
    // What came while nobody listened is in the store.
    if (lost) load();
    lost = false;
  };
  own.onerror = () => {
    lost = true;
    offline("The connection to the collector is lost: what is shown is old. Trying again …");
    // A refusal is final for the browser, and not for us.
    if (own.readyState === EventSource.CLOSED) setTimeout(() => { if (own === feed) { ask("/me").catch(() => {}); listen(); } }, 2000);
  };
  own.addEventListener("event", (event) => merge([JSON.parse(event.data)]));
  own.addEventListener("missed", (event) => { say(event.data + " events came too fast to show; they are stored."); load(); });
}

/** Begins anew with what the address asks for. */
function visitTimeline(params) {
  const wanted = question(params).toString();
  if (feed && wanted === loaded) return;
  loaded = wanted;
  for (const field of $("filter").elements) if (field.name) field.value = params.get(field.name) ?? "";
  items = []; next = null; kept = KEPT;
  $("events").replaceChildren();
  $("strip").replaceChildren();
  $("more").hidden = true;
  note("timeline-note", "loading …");
  listen();
  load();
}

// The picture: a line for each kind, and one for each service or backend whose breaker has changed.
const SUBJECTS = 8;
const STATES = { "circuit breaker open": "bad", "circuit breaker half-open": "warn", "circuit breaker closed": "" };
function drawStrip(all) {
  const events = all.map((item) => ({ ...item, at: new Date(item.time).getTime() })).filter((item) => item.at).sort((a, b) => a.at - b.at);
  if (events.length < 2) { $("strip").replaceChildren(); return; }
  const from = events[0].at, to = Math.max(events.at(-1).at, from + 1000);
  const part = (at) => ((at - from) / (to - from) * 100) + "%";
  const lanes = new Map();
  const lane = (name) => lanes.get(name) ?? lanes.set(name, { name, events: [], bars: [] }).get(name);
  for (const name of ["detection", "limits", "services", "agent"]) lane(name);
  for (const event of events) {
    const key = event.about + " on " + event.node;
    const own = event.what in STATES && event.about && (lanes.has(key) || lanes.size < SUBJECTS + 4);
    const at = lane(own ? key : event.kind);
    at.events.push(event);
    if (!own) continue;
    if (at.open) at.bars.push({ ...at.open, until: event.at });
    at.open = STATES[event.what] ? { since: event.at, look: STATES[event.what] } : null;
  }
  const rows = [...lanes.values()].filter((one) => one.events.length).map((one) => {
    if (one.open) one.bars.push({ ...one.open, until: to });
    const line = make("div");
    for (const bar of one.bars) {
      const made = make("span", "", "bar " + bar.look);
      made.style.left = part(bar.since);
      made.style.width = ((bar.until - bar.since) / (to - from) * 100) + "%";
      line.append(made);
    }
    for (const event of one.events) {
      const dot = make("span", "", "dot " + (one.bars.length && event.what.endsWith("closed") ? "good" : lookOf(event.priority) || "dim"));
      dot.style.left = part(event.at);
      dot.title = plain(clock(event.time, true) + " " + event.node + ": " + event.what + " " + event.text);
      dot.onclick = () => show(event.number);
      line.append(dot);
    }
    const name = make("b", one.name);
    name.title = plain(one.name);
    return make("div", [name, line], "lane");
  });
  const axis = make("div", [0, .5, 1].map((share) => make("span", clock(from + (to - from) * share, share > 0 && share < 1))), "axis");
  $("strip").replaceChildren(...rows, axis);
}
