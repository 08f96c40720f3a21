// The details of an event: its processes, what the kernel saw, and what else happened then.
const AROUND_MS = 60000;
/** Which facts belong together, by the first part of their names. */
const GROUPS = [
  ["What the kernel saw", /^(evt|syscall|fd|fs)\./],
  ["Process", /^(proc|thread)\./],
  ["Who", /^(user|group)\./],
  ["Container and pod", /^(container|k8s|k8smeta)\./],
  ["Trading", /^trading\./],
];
let opener = null;

const known = (value) => value !== null && value !== undefined && value !== "" && value !== "<NA>";
const said = (value) => (typeof value === "object" && value !== null ? JSON.stringify(value) : String(value));

/** The process and its ancestors, the oldest first, as far as the alert names them. */
function family(fields) {
  const of = (own, parent, ancestor, level) => {
    const name = level === 0 ? own : level === 1 && known(fields[parent]) ? parent : ancestor + "[" + level + "]";
    return known(fields[name]) ? fields[name] : null;
  };
  const chain = [];
  for (let level = 0; level < 16; level += 1) {
    const name = of("proc.name", "proc.pname", "proc.aname", level) ?? (level ? null : fields["proc.exepath"] ?? null);
    const pid = of("proc.pid", "proc.ppid", "proc.apid", level), line = of("proc.cmdline", "proc.pcmdline", "proc.acmdline", level);
    const path = of("proc.exepath", "proc.pexepath", "proc.aexepath", level);
    if ([name, pid, line, path].some(known)) chain.unshift({ level, name: name ?? path ?? line ?? "?", pid, line, path });
  }
  return chain;
}

function tree(fields) {
  let inner = null;
  for (const { level, name, pid, line, path } of family(fields).reverse()) {
    const words = [pid === null ? "" : " (" + pid + ")", line === null ? "" : ": " + line, path === null || path === name ? "" : " — " + path].join("");
    const one = make("li", [level === 0 ? make("strong", name) : name, words]);
    if (inner) one.append(make("ul", inner));
    inner = one;
  }
  return inner ? make("ul", inner, "tree") : null;
}

function list(pairs) {
  return make("dl", pairs.flatMap(([name, value]) => [make("dt", name), make("dd", value instanceof Node ? value : said(value))]), "fields");
}

function section(title, content) {
  return content ? [make("h3", title), content] : [];
}

function anchor(text, view, params) {
  const made = make("a", text);
  made.href = link(view, params);
  return made;
}

function describe({ alert, node, received, kind, number }) {
  const fields = alert.output_fields ?? {}, rest = new Map(Object.entries(fields).filter(([, value]) => known(value)));
  const title = make("h2", alert.rule);
  title.id = "detail-title";
  const head = list([
    ["Priority", make("span", alert.priority, lookOf(alert.priority))], ["Node", anchor(node, "timeline", { node })],
    ["Kind", anchor(kind, "timeline", { kind })], ["Source", alert.source ?? "?"], ["Time", alert.time ?? "?"], ["Stored", received],
    ["Number", anchor(number, "timeline", { event: number })],
    ...(alert.tags?.length ? [["Tags", alert.tags.join(", ")]] : []),
    ...(alert.uuid ? [["UUID", alert.uuid]] : []),
  ]);
  const parts = [title, make("p", alert.output), head, ...section("Processes", tree(fields))];
  for (const [name, pattern] of GROUPS) {
    const own = [...rest].filter(([field]) => pattern.test(field));
    for (const [field] of own) rest.delete(field);
    if (own.length) parts.push(...section(name, list(own)));
  }
  if (rest.size) parts.push(...section(kind === "detection" ? "Other facts" : "Evidence", list([...rest])));
  if (kind === "detection") {
    parts.push(...section("Rule", make("p", [anchor("Everything of this rule", "timeline", { rule: alert.rule }),
      ". On its node: ", make("code", "rampart explain '" + alert.rule.replaceAll("'", "'\\''") + "'"),
      alert.policy_digest ? ", in the rule set " + alert.policy_digest + "." : "."])));
    const text = make("div", alert.policy_digest ? "loading …" : []);
    text.id = "rule-text";
    parts.push(text);
  }
  return parts;
}

/** The rule as it was in force, with the macros and lists that it names. */
async function ruleText({ number }, place) {
  const { text } = await ask("/alerts/" + number + "/rule");
  place.replaceChildren(make("pre", text.trimEnd().split("\n").flatMap((line) => [line, document.createTextNode("\n")])));
}

/** What else the node said then. */
async function around({ alert, node, number }, place) {
  const at = new Date(alert.time).getTime();
  if (Number.isNaN(at)) { put(place, "The alert does not say when it was."); return; }
  const query = { node, since: new Date(at - AROUND_MS).toISOString(), until: new Date(at + AROUND_MS).toISOString(), limit: 50 };
  const got = await ask("/timeline?" + new URLSearchParams(query));
  const others = got.events.filter((event) => event.number !== number);
  if (!others.length) { put(place, "Nothing."); return; }
  const rows = others.map((event) => {
    const row = make("tr", [make("td", clock(event.time, true)), make("td", event.kind), make("td", event.priority, lookOf(event.priority)), make("td", anchor(event.what, "timeline", { event: event.number })), make("td", event.text)]);
    return row;
  });
  place.replaceChildren(make("table", make("tbody", rows)));
}

async function visitDetail(number) {
  const dialog = $("detail"), body = $("detail-body");
  if (!number) {
    if (dialog.open) dialog.close();
    return;
  }
  if (body.dataset.number === number && dialog.open) return;
  body.dataset.number = number;
  body.replaceChildren(make("p", "loading …", "note"));
  if (!dialog.open) {
    opener = document.activeElement;
    dialog.showModal();
  }
  try {
    const got = await ask("/alerts/" + encodeURIComponent(number));
    if (body.dataset.number !== number) return;
    const others = make("div", "loading …");
    others.id = "around";
    body.replaceChildren(...describe(got), make("h3", "On this node within a minute"), others,
      make("h3", "JSON"), make("pre", JSON.stringify(got.alert, null, 2).split("\n").flatMap((line) => [line, document.createTextNode("\n")])));
    const rule = $("rule-text");
    if (rule && got.alert.policy_digest) ruleText(got, rule).catch((error) => put(rule, plain(error.message) + ".", "note"));
    await around(got, others).catch((error) => put(others, error.message, "bad"));
  } catch (error) {
    if (body.dataset.number === number) body.replaceChildren(make("p", error.message, "bad"));
  }
}

function leaveDetail() {
  delete $("detail-body").dataset.number;
  if (place().params.has("event")) show(null);
  if (opener?.isConnected) opener.focus();
  opener = null;
}
