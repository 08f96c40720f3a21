// The other views, each asked for anew while it is looked at.
const EVERY_MS = 5000;
const LOOKED_AT = 500;
let auditNext = null, records = [], current = null;

const views = {
  async nodes() {
    const { nodes } = await ask("/nodes");
    table("nodes", nodes, (node) => node.name, (node) => {
      const beat = node.heartbeat ?? {}, lostEvents = Object.values(beat.losses ?? {}).reduce((sum, one) => sum + one, 0);
      const state = !node.active ? ["silent", "bad"] : beat.policy_fault ? ["rules refused: " + beat.policy_fault, "bad"]
        : beat.ready === false ? ["starting", "warn"] : ["active", "good"];
      const loss = (value) => [count(value), value ? "warn" : ""];
      return [node.name, state, clock(node.seen), beat.rules ?? "?", count(node.alerts.stored), loss(node.alerts.missing),
        loss(lostEvents), count(beat.spool?.pending), size(beat.rss_bytes), node.version || "?", node.kernel || "?"];
    }, "No agent has connected yet. Set output.collector.url in its configuration.");
    sync($("names"), nodes, (node) => node.name, () => make("option"), (option, node) => { option.value = node.name; });
  },

  async breakers() {
    const { events } = await ask("/timeline?" + new URLSearchParams({ kind: "services", limit: LOOKED_AT }));
    const rows = new Map();
    for (const event of events) {
      const key = event.node + "\n" + event.about;
      const row = rows.get(key) ?? rows.set(key, { key, ...event, opened: 0, breaker: null, other: null }).get(key);
      const breaker = event.what.match(/^circuit breaker (.*)$/)?.[1];
      // The newest comes first.
      if (breaker) row.breaker ??= breaker; else row.other ??= event.what;
      if (breaker === "open") row.opened += 1;
    }
    const look = { open: "bad", "half-open": "warn", closed: "good" };
    const sad = /down|ejected|suppressed|failover|in panic/;
    table("breakers", [...rows.values()], (row) => row.key, (row) => [row.about ?? "?", row.node,
      row.breaker ? [row.breaker, look[row.breaker] ?? ""] : "–", row.other ? [row.other, sad.test(row.other) ? "warn" : ""] : "–",
      count(row.opened), clock(row.time), row.text], "No agent has told of a service yet: as long as all goes well there is nothing to tell.");
  },

  async limits() {
    const { events } = await ask("/timeline?" + new URLSearchParams({ kind: "limits", limit: LOOKED_AT }));
    const rows = new Map();
    for (const event of events) {
      const key = [event.node, event.about, event.what].join("\n");
      const row = rows.get(key) ?? rows.set(key, { key, ...event, times: 0 }).get(key);
      row.times += 1;
    }
    table("limits", [...rows.values()], (row) => row.key, (row) => [row.about ?? "–", row.node, [row.what, lookOf(row.priority)],
      count(row.times), clock(row.time), row.text], "No agent has told of anything over a limit.");
  },

  rollouts: showRollouts,
  jobs: showJobs,

  async delivery() {
    const [health, { dead }, { nodes }] = await Promise.all([ask("/health/detailed"), ask("/dead"), ask("/nodes")]);
    note("delivery-note", "");
    const spooled = nodes.reduce((sum, node) => sum + (node.heartbeat?.spool?.pending ?? 0), 0);
    const missing = nodes.reduce((sum, node) => sum + node.alerts.missing, 0);
    const facts = [
      ["Collector", health.status, health.status === "ok" ? "good" : "bad"], ["Version", health.version],
      ["Streams of agents", count(health.sessions)], ["Alerts stored", count(health.store.alerts)], ["Store", size(health.store.bytes)],
      ["Came twice", count(health.store.duplicates)], ["Removed by retention", count(health.store.trimmed)],
      ["Store failed", count(health.store.errors), health.store.errors ? "bad" : ""],
      ["Wait in spools", count(spooled), spooled ? "warn" : ""], ["Missing", count(missing), missing ? "warn" : ""],
      ["To be told", count(health.notifications.waiting)], ["Dead letters", count(health.notifications.dead), health.notifications.dead ? "bad" : ""],
    ];
    sync($("delivery-facts"), facts, ([name]) => name, () => make("div", [make("dt"), make("dd")]), (div, [name, text, kind]) => {
      put(div.firstElementChild, name);
      put(div.lastElementChild, text, kind ?? "");
    });
    const channels = Object.entries(health.notifications.channels);
    table("channels", channels, ([name]) => name, ([name, done]) => [name, count(done.delivered), [count(done.retried), done.retried ? "warn" : ""],
      [count(done.dead), done.dead ? "bad" : ""]], "No channel was told anything since this collector started.");
    table("dead", dead, (one) => one.number, (one) => [clock(one.time), one.channel, count(one.attempts), one.reason], "None: everything was told.");
    for (const [at, one] of dead.entries()) {
      const row = $("dead-rows").rows[at];
      if (row.cells.length < 6) row.append(make("td", anchor(one.alert, "delivery", { event: one.alert })), make("td", again(one)));
    }
  },

  async audit() {
    if (ROLES.indexOf(role) < 1) throw new Error("The audit log needs the role operator.");
    const got = await ask("/audit?limit=100");
    if (records.length <= 100) [records, auditNext] = [got.records, got.next];
    showAudit();
  },
};

function showAudit() {
  $("audit-more").hidden = auditNext === null;
  table("audit", records, (one) => one.number, (one) => [one.number, clock(one.time), one.actor, one.action, one.object, one.detail,
    one.hash.slice(0, 16)], "Nothing was changed yet.");
}

function again(letter) {
  const button = make("button", "Try again");
  button.type = "button";
  button.disabled = ROLES.indexOf(role) < 1;
  button.ariaLabel = "Try again to tell " + plain(letter.channel) + " of alert " + letter.alert;
  button.onclick = async () => {
    button.disabled = true;
    try {
      const { redriven } = await change("/dead/redrive?" + new URLSearchParams({ channel: letter.channel, number: letter.number }));
      say(redriven ? "It is tried again." : "It is not there any more.");
      await refresh();
    } catch (error) {
      say(error.message);
      button.disabled = false;
    }
  };
  return button;
}

/** Shows the view where one is; what cannot be asked for says so in its place. */
async function refresh() {
  const { view } = place();
  if (view === "timeline") return;
  try { await views[view](); } catch (error) { note(view + "-note", error.message, true); }
}

function visit() {
  const { view, params } = place();
  for (const name of VIEWS) $(name).hidden = name !== view;
  for (const one of document.querySelectorAll("nav a")) {
    if (one.dataset.view === view) one.ariaCurrent = "page"; else one.ariaCurrent = null;
  }
  if (view !== current) document.title = "Rampart: " + view;
  current = view;
  if (view === "timeline") visitTimeline(params); else refresh();
  visitDetail(params.get("event"));
}

$("filter").onsubmit = (event) => {
  event.preventDefault();
  const wanted = new URLSearchParams();
  for (const [name, value] of new FormData($("filter"))) if (value) wanted.set(name, value);
  location.hash = link("timeline", wanted);
};
$("clear").onclick = () => { $("filter").reset(); location.hash = "timeline"; };
$("filter").elements.kind.onchange = $("filter").elements.priority.onchange = () => $("filter").requestSubmit();
$("more").onclick = () => load(next);
$("audit-more").onclick = async () => {
  try {
    const got = await ask("/audit?" + new URLSearchParams({ limit: 100, before: auditNext }));
    records = records.concat(got.records);
    auditNext = got.next;
    showAudit();
  } catch (error) { say(error.message); }
};
$("skip").onclick = (event) => { event.preventDefault(); $("main").focus(); };
$("detail").onclose = leaveDetail;
$("logout").onclick = async () => {
  try { await change("/logout"); location.href = "/login"; } catch (error) { say(error.message); }
};
addEventListener("hashchange", visit);
addEventListener("keydown", (event) => {
  const at = document.activeElement;
  if (event.ctrlKey || event.altKey || event.metaKey || $("detail").open || /INPUT|SELECT|TEXTAREA/.test(at?.tagName)) return;
  const digit = Number(event.key);
  if (event.key === "/") { if (current !== "timeline") location.hash = "timeline"; $("timeline").hidden = false; $("filter").elements.text.focus(); }
  else if (digit >= 1 && digit <= VIEWS.length) location.hash = VIEWS[digit - 1];
  else if ((event.key === "j" || event.key === "ArrowDown") && current === "timeline" && at === document.body) $("events").rows[0]?.focus();
  else return;
  event.preventDefault();
});
ask("/me").then((me) => {
  role = me.role;
  // Where nobody logs in, nobody logs out.
  $("who").hidden = me.seconds === null;
  put($("name"), me.name.replace(/^user:/, "") + " (" + me.role + ")");
  refresh();
}).catch(() => {});
visit();
views.nodes().catch(() => {});
setInterval(refresh, EVERY_MS);
