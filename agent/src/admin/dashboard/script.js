"use strict";
// Everything from outside is put in as text, never as markup. The token is a variable and nothing else.
const $ = (id) => document.getElementById(id);
const PRIORITIES = ["emergency", "alert", "critical", "error", "warning", "notice", "informational", "debug"];
const ALERTS_KEPT = 256;
const SILENCE_MS = 8000;
let feed = null, run = "", token = "", heard = 0, skew = 0, failures = 0, before = null, waiting = 0;

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

/** Makes the children one per item. Each is kept by its key, so that focus and what is unfolded stay. */
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

const shown = (id, is) => { $(id).closest(".wide").hidden = !is; };
const note = (id, text) => { $(id).hidden = !text; put($(id), text, "note"); };
const say = (text) => put($("said"), text);
const count = (value) => Number(value ?? 0).toLocaleString("en");
const size = (bytes) => (bytes === null || bytes === undefined ? "?" : (bytes / 1048576).toFixed(1) + " MiB");
const clock = (text) => (text ? new Date(text).toLocaleTimeString("en-GB") : "–");
function span(seconds) {
  const whole = Math.max(0, Math.round(seconds));
  if (whole < 60) return whole + " s";
  if (whole < 3600) return Math.floor(whole / 60) + " min " + (whole % 60) + " s";
  if (whole < 86400) return Math.floor(whole / 3600) + " h " + (Math.floor(whole / 60) % 60) + " min";
  return Math.floor(whole / 86400) + " d " + (Math.floor(whole / 3600) % 24) + " h";
}
const left = (text) => (new Date(text).getTime() - (Date.now() + skew)) / 1000;
const until = (text) => {
  if (!text) return "–";
  const secs = left(text);
  return clock(text) + (secs > 0 ? " (in " + span(secs) + ")" : " (at the next connection)");
};
const looks = { closed: "good", half_open: "warn", open: "bad" };
const stateOf = (state) => [String(state).replace("_", "-"), looks[state] ?? "warn"];

// Agent.
function showAgent(state) {
  const agent = state.agent, detection = agent.detection;
  put($("name"), agent.hostname ? "on " + agent.hostname : "", "dim");
  document.title = (agent.status === "ok" ? "" : "! ") + "Rampart " + plain(agent.hostname ?? "");
  sync($("complaints"), agent.complaints, (text) => text, () => make("li"), put);
  const sum = (name) => detection.families.reduce((all, family) => all + family[name], 0);
  const lost = sum("ring_full") + sum("error");
  const unwritten = agent.outputs.reduce((all, output) => all + output.dropped_queue_full + output.dropped_write_failed, 0);
  const now = { at: new Date(state.now).getTime(), seen: sum("seen"), cpu: agent.cpu_seconds, alerts: detection.alerts, lost };
  const secs = before ? (now.at - before.at) / 1000 : 0;
  const rate = (name) => (secs > 0.1 ? Math.max(0, (now[name] - before[name]) / secs) : null);
  const per = (value, digits) => (value === null ? "–" : value.toLocaleString("en", { maximumFractionDigits: digits }));
  const cpu = rate("cpu");
  const facts = [
    ["State", agent.ready ? agent.status : "starting: " + agent.waiting_for.join(", "), agent.ready && agent.status === "ok" ? "good" : "bad"],
    ["Up", span(agent.uptime_seconds)],
    ["Events", per(rate("seen"), 0) + " /s"],
    ["Lost events", count(lost), lost ? "bad" : ""],
    ["Unexplained", count(sum("unexplained")), sum("unexplained") ? "bad" : ""],
    ["Alerts", count(detection.alerts)],
    ["Alerts not written", count(unwritten), unwritten ? "bad" : ""],
    ["Agent's CPU", cpu === null ? "–" : (cpu * 100).toFixed(1) + " %"],
    ["Agent's memory", size(agent.memory_rss_bytes)],
    ["Load of the node", state.load ? state.load.join(" · ") : "?"],
    ["Rules", count(agent.policy.rules)],
    ["Rules left out", count(detection.shed.length), detection.shed.length ? "warn" : ""],
    ["Version", agent.version],
    ["Kernel", agent.kernel_release ?? "?"],
  ];
  if (agent.collector) {
    const there = agent.collector.connected;
    facts.push(["Collector", (there ? "connected" : "not reached") + ", " + count(agent.collector.pending) + " wait", there ? "good" : "bad"]);
  }
  if (state.limits.throttle) facts.push(["Stress", (state.limits.throttle.stress_permille / 10).toFixed(1) + " %"]);
  const fact = () => make("div", [make("dt"), make("dd")]);
  sync($("facts"), facts, ([name]) => name, fact, (div, [name, text, kind]) => {
    put(div.firstElementChild, name);
    put(div.lastElementChild, text, kind ?? "");
  });
  if (secs > 0.4 || !before) before = { ...now };
}

// Services.
const SERVICE_HEAD = ["Backend", "Address", "Tier", "Weight", "Wanted", "Health", "Breaker", "Open", "Total", "Good", "Failed", "Change"];
function createService() {
  const head = make("tr", SERVICE_HEAD.map((name) => { const cell = make("th", name); cell.scope = "col"; return cell; }));
  const title = make("h3"), facts = make("p"), body = make("tbody");
  const table = make("table", [make("thead", head), body]);
  const card = make("div", [title, facts, make("div", table, "wide")], "service");
  card.parts = { title, facts, body, table };
  return card;
}
function healthOf(backend) {
  if (backend.ejected_until) return ["ejected until " + clock(backend.ejected_until), "bad"];
  if (!backend.health) return ["not checked", "dim"];
  return backend.health.up ? ["up", "good"] : ["down: " + (backend.health.last_fault ?? "?"), "bad"];
}
function fillService(card, service) {
  const { title, facts, body, table } = card.parts;
  put(title, service.name);
  table.ariaLabel = "Backends of " + plain(service.name);
  put(facts, `${service.protocol} ${service.vip}, ${service.algorithm}, tier ${service.tier}${service.panic ? ", in panic" : ""} · `
    + `${count(service.chosen)} chosen, ${count(service.refused)} refused, ${count(service.no_backend)} without a backend`, service.panic ? "bad" : "dim");
  sync(body, service.backends, (backend) => backend.name, (backend) => createBackend(service.name, backend.name), (row, backend) => {
    const failed = Object.entries(backend.outcomes).reduce((all, [name, times]) => (["success", "neutral"].includes(name) ? all : all + times), 0);
    cells(row, [backend.name, backend.address, backend.tier, backend.weight, [backend.admin, backend.admin === "ready" ? "" : "warn"],
      healthOf(backend), stateOf(backend.breaker), count(backend.connections), count(backend.connections_total),
      count(backend.outcomes.success), count(failed)]);
  });
}
function createBackend(service, backend) {
  const row = make("tr");
  while (row.cells.length < SERVICE_HEAD.length - 1) row.append(make("td"));
  const path = "services/" + encodeURIComponent(service) + "/backends/" + encodeURIComponent(backend) + "/";
  const about = service + "/" + backend;
  row.append(make("td", [
    button("Drain", path + "drain", about, "No new connections to " + about + "?"),
    button("Enable", path + "enable", about),
  ]));
  return row;
}
function showServices(state) {
  const { services, fault } = state.services;
  note("services-note", fault ? "Problem: " + fault : services.length ? "" : "No service is configured: see the section “services” of the configuration.");
  sync($("services"), services, (service) => service.name, createService, fillService);
}

// Circuit breakers.
// Cells before the one that unfolds.
const EVENTS = 9;
function createBreaker(breaker) {
  const row = make("tr");
  for (let at = 0; at < EVENTS; at += 1) row.append(make("td"));
  if (breaker.backend === null) { row.append(make("td"), make("td")); return row; }
  const list = make("ol"), summary = make("summary", "none");
  row.append(make("td", make("details", [summary, list])));
  const path = "circuit-breakers/" + encodeURIComponent(breaker.service) + "/" + encodeURIComponent(breaker.backend) + "/";
  row.append(make("td", [
    button("Reset", path + "reset", breaker.id),
    button("Force open", path + "force-open", breaker.id, "Let nothing through to " + breaker.id + " until it is set to auto?"),
    button("Force closed", path + "force-close", breaker.id, "Let everything through to " + breaker.id + ", whatever becomes of it, until it is set to auto?"),
    button("Auto", path + "auto", breaker.id),
  ]));
  row.parts = { list, summary };
  return row;
}
function fillBreaker(row, breaker) {
  if (breaker.backend === null) { cells(row, [breaker.id + " (all backends)", stateOf(breaker.state)]); return; }
  const forced = breaker.mode !== "auto";
  cells(row, [breaker.id, stateOf(breaker.state), [breaker.mode, forced ? "warn" : ""], breaker.consecutive,
    `${breaker.window.fail} of ${breaker.window.calls} failed, ${breaker.window.slow} slow`,
    clock(breaker.opened_at), until(breaker.open_until), `${breaker.probes.in_flight} out, ${breaker.probes.ok} good`, count(breaker.opens)]);
  const events = breaker.last_events;
  put(row.parts.summary, events.length ? events.length + (events.length > 1 ? " events" : " event") : "none");
  sync(row.parts.list, events, (event) => event.at + event.outcome + event.after_us, () => make("li"), (item, event) => {
    const sent = event.retransmits ? ", sent again " + event.retransmits + " times" : "";
    put(item, `${clock(event.at)} ${event.outcome}, errno ${event.errno}${sent}, after ${count(event.after_us)} µs`);
  });
}
function showBreakers(state) {
  const all = state.breakers.circuit_breakers;
  note("breakers-note", all.length ? "" : "There are no circuit breakers without services.");
  shown("breakers", all.length);
  sync($("breakers"), all, (breaker) => breaker.id, createBreaker, fillBreaker);
}

// Rate limits.
let over = new Map();
function showLimits(state) {
  const limits = state.limits, at = new Date(state.now).getTime();
  const policies = limits.settings ?? [];
  const off = limits.settings === null || limits.settings === undefined;
  note("limits-note", limits.fault ? "Problem: " + limits.fault
    : off ? "Rate limits are off: see the section “limits” of the configuration."
    : policies.length ? "Mode: " + limits.mode + ", on " + (limits.attached.map((one) => one.interface + " " + one.direction + " by " + one.rung).join(", ") || "no interface")
    : "No policy is configured.");
  shown("policies", policies.length);
  const now = new Map();
  sync($("policies"), policies, (policy) => policy.name, () => make("tr"), (row, policy) => {
    const own = limits.counted.filter((one) => one.policy === policy.name);
    const sum = (wanted) => own.filter((one) => one.reason.startsWith("over") === wanted).reduce((all, one) => all + one.packets, 0);
    const much = sum(true), was = over.get(policy.name);
    now.set(policy.name, { at, much });
    const secs = was ? (at - was.at) / 1000 : 0;
    const rate = secs > 0 ? (much - was.much) / secs : 0;
    cells(row, [policy.name, policy.rate + " " + policy.unit.replace("_", " "), count(policy.burst), policy.dry_run ? policy.action + " (dry run)" : policy.action,
      count(sum(false)), [count(much), rate > 0 ? "bad" : ""], count(Math.round(rate))]);
  });
  over = now;
  const prefixes = limits.top?.prefixes ?? [];
  $("h-top").hidden = !prefixes.length;
  shown("top", prefixes.length);
  sync($("top"), prefixes, (one) => one.prefix, () => make("tr"), (row, one) => {
    cells(row, [one.prefix, (one.permille / 10).toFixed(1) + " %", count(one.sources), one.policies.join(", "), one.proposal.command]);
  });
}

// Alerts.
function alertRow({ number, alert }) {
  const row = make("tr"), level = PRIORITIES.indexOf(String(alert.priority).toLowerCase());
  const text = String(alert.output ?? "").replace(/^\S+ \S+ /, "");
  const details = make("details", make("summary", text));
  details.addEventListener("toggle", () => {
    if (details.childElementCount > 1) return;
    const list = make("dl", "", "fields");
    for (const [name, value] of Object.entries({ ...alert.output_fields, source: alert.source, tags: (alert.tags ?? []).join(", "), uuid: alert.uuid })) {
      list.append(make("dt", name), make("dd", typeof value === "object" && value !== null ? JSON.stringify(value) : value));
    }
    details.append(list);
  });
  row.append(make("td", String(alert.time ?? "").replace("T", " ").slice(0, 19)), make("td", alert.priority, level <= 3 ? "bad" : level === 4 ? "warn" : ""),
    make("td", alert.rule), make("td", details));
  row.dataset.number = number;
  row.dataset.level = level;
  return row;
}
function fits(row) {
  const word = $("word").value.toLowerCase();
  return Number(row.dataset.level) <= Number($("least").value) && row.textContent.toLowerCase().includes(word);
}
function filter() {
  const rows = Array.from($("alerts").rows);
  for (const row of rows) row.hidden = !fits(row);
  const seen = rows.filter((row) => !row.hidden).length;
  note("alerts-note", !rows.length ? "No alerts yet. When the agent raises one, it appears here." : seen ? "" : "None of the " + rows.length + " alerts fits.");
  shown("alerts", seen);
}
function addAlert(item) {
  const body = $("alerts");
  if (body.rows.length && Number(body.rows[0].dataset.number) >= item.number) return;
  const row = alertRow(item);
  row.hidden = !fits(row);
  body.prepend(row);
  // The oldest goes, unless somebody is in it.
  while (body.rows.length > ALERTS_KEPT && !body.lastElementChild.contains(document.activeElement)) body.lastElementChild.remove();
}

// Changes.
function button(label, path, about, question) {
  const made = make("button", label);
  made.type = "button";
  made.ariaLabel = label + " " + plain(about);
  made.addEventListener("click", () => act(made, path, label + " " + about, question));
  return made;
}
// Answers the question that is open. The event of a close comes later, maybe when the next question is open already.
let answered = null;
function sure(question) {
  const dialog = $("sure"), from = document.activeElement;
  answered?.(false);
  put($("question"), question);
  dialog.returnValue = "";
  return new Promise((resolve) => {
    answered = (yes) => { answered = null; from?.focus(); resolve(yes); };
    dialog.showModal();
    $("no").focus();
  });
}
function keepToken(text) {
  token = text;
  $("token").value = "";
  $("token").hidden = $("open").hidden = Boolean(text);
  document.querySelector("label[for=token]").hidden = Boolean(text);
  $("forget").hidden = !text;
}
async function act(made, path, what, question) {
  if (!token) { say("Changes need the token of the agent (admin.token_file)."); $("token").focus(); return; }
  if (question && !(await sure(question))) return;
  made.disabled = true;
  try {
    const answer = await fetch(path, { method: "POST", headers: { Authorization: "Bearer " + token }, credentials: "omit", redirect: "error" });
    const body = await answer.json().catch(() => ({}));
    if (answer.ok) say(what + ": done.");
    else {
      say(what + ": " + (body.error ?? "status " + answer.status) + ".");
      if (answer.status === 401) { keepToken(""); $("token").focus(); }
    }
  } catch { say(what + ": the agent does not answer."); }
  made.disabled = false;
  if (document.activeElement === document.body) made.focus();
}

// The feed.
function lost(text) {
  const since = heard ? " What is shown is of " + new Date(heard).toLocaleTimeString("en-GB") + "." : "";
  document.body.classList.add("stale");
  $("alarm").hidden = false;
  put($("alarm"), text + since);
  put($("link"), "disconnected", "bad");
}
function alive() {
  heard = Date.now();
  failures = 0;
  if (document.body.classList.contains("stale") || !$("link").className) {
    document.body.classList.remove("stale");
    $("alarm").hidden = true;
    put($("alarm"), "");
    put($("link"), "live", "good");
  }
}
function again() {
  if (waiting) return;
  failures += 1;
  // Longer each time, and not in step with others.
  waiting = setTimeout(() => { waiting = 0; listen(); }, (0.5 + Math.random() / 2) * Math.min(30000, 1000 * 2 ** failures));
}
function listen() {
  feed?.close();
  feed = new EventSource("dashboard/events");
  feed.addEventListener("hello", (event) => {
    const hello = JSON.parse(event.data);
    // Another run of the agent counts from one again.
    if (hello.run !== run) { run = hello.run; before = null; over = new Map(); $("alerts").replaceChildren(); }
  });
  feed.addEventListener("state", (event) => {
    const state = JSON.parse(event.data);
    skew = new Date(state.now).getTime() - Date.now();
    alive();
    showAgent(state); showServices(state); showBreakers(state); showLimits(state); filter();
  });
  feed.addEventListener("alert", (event) => addAlert(JSON.parse(event.data)));
  feed.addEventListener("missed", (event) => say(event.data + " alerts came too fast to be shown here."));
  feed.addEventListener("error", () => {
    const is = feed.readyState === EventSource.CLOSED;
    lost(is ? "The agent takes no more viewers at the moment; trying again." : "The agent does not answer; trying again.");
    if (is) again();
  });
}

$("unlock").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("token").value.trim();
  if (!text) { $("token").focus(); return; }
  keepToken(text);
  say("Changes are unlocked until this page is closed.");
  $("forget").focus();
});
$("forget").addEventListener("click", () => { keepToken(""); say("Locked."); $("token").focus(); });
$("filter").addEventListener("submit", (event) => event.preventDefault());
$("word").addEventListener("input", filter);
$("least").addEventListener("change", filter);
$("sure").addEventListener("close", () => { if (!$("sure").open) answered?.($("sure").returnValue === "yes"); });
$("no").addEventListener("click", () => $("sure").close(""));
$("yes").addEventListener("click", () => $("sure").close("yes"));
addEventListener("pagehide", () => keepToken(""));
addEventListener("keydown", (event) => {
  if (event.key === "/" && !/^(INPUT|SELECT)$/.test(document.activeElement?.tagName)) { $("word").focus(); event.preventDefault(); }
});
setInterval(() => { if (heard && Date.now() - heard > SILENCE_MS) lost("The agent is silent."); }, 1000);
filter();
note("alerts-note", "loading …");
listen();
