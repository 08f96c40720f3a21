// Jobs for nodes: what there is, what came of it, and asking for one.
const FIELDS = { diagnostics: [], capture: ["secs"], backtest: ["secs", "capture", "rules"], unblock: ["source", "response"] };
const JOB_LOOKS = { waiting: "", running: "", done: "good", dead: "bad", cancelled: "warn" };
const STEPS = {
  cancel: ["Cancel", (one) => one.state === "waiting" || one.state === "running", "The job is cancelled."],
  redrive: ["Try again", (one) => one.state === "dead", "The job waits again."],
};

/** What a job is about, in a few words. */
function task({ kind, secs, capture, source, response }) {
  const about = [secs && secs + " s", capture && "of " + capture, source, response && "response " + response].filter(Boolean);
  return [kind, ...about].join(" ");
}

async function showJobs() {
  const { params } = place();
  const wanted = new URLSearchParams();
  for (const name of ["state", "node"]) if (params.get(name)) wanted.set(name, params.get(name));
  const chosen = $("job-filter").elements;
  if (!$("job-filter").contains(document.activeElement)) {
    chosen.state.value = params.get("state") ?? "";
    chosen.node.value = params.get("node") ?? "";
  }
  const { jobs } = await ask("/jobs?" + wanted);
  table("jobs", jobs, (one) => one.id, (one) => [one.id, task(one.task), one.on ?? one.outcome?.node ?? one.node ?? "any",
    [one.state, JOB_LOOKS[one.state] ?? ""], one.priority, count(one.attempts), clock(one.created), one.by,
    [came(one), one.state === "dead" ? "" : "dim"]], wanted.size ? "No job is like that." : "No node was asked for anything yet.");
  const mayChange = ROLES.indexOf(role) >= 1;
  for (const [at, one] of jobs.entries()) {
    const row = $("jobs-rows").rows[at];
    const cell = row.cells[9] ?? row.appendChild(make("td"));
    const offered = Object.keys(STEPS).filter((name) => STEPS[name][1](one));
    if (one.outcome && mayChange) offered.push("result");
    sync(cell, offered, (name) => name, (name) => (name === "result" ? resultOf(one) : step(one, name)), (made, name) => {
      if (name !== "result") made.disabled = !mayChange;
    });
  }
  $("job-wish").disabled = !mayChange;
  note("job-may", mayChange ? "" : "Asking a node for work needs the role operator.");
}

/** What came of a job, as far as a line has room; the rest is its result. */
function came(job) {
  const text = job.state === "waiting" && job.fault ? "again after " + clock(job.not_before, true) + ": " + job.fault
    : job.state === "running" ? "since " + clock(job.since) : job.fault || job.outcome?.text || "–";
  return text.length > 200 ? text.slice(0, 200) + " …" : text;
}

function resultOf(job) {
  const link = make("a", "Result");
  link.href = "/jobs/" + encodeURIComponent(job.id) + "/result";
  link.ariaLabel = "Result of " + job.id;
  return link;
}

function step(job, name) {
  const button = make("button", STEPS[name][0]);
  button.type = "button";
  button.ariaLabel = STEPS[name][0] + ": " + job.id;
  button.onclick = async () => {
    button.disabled = true;
    try {
      await change("/jobs/" + encodeURIComponent(job.id) + "/" + name);
      say(STEPS[name][2]);
      await refresh();
    } catch (error) {
      say(error.message);
      button.disabled = false;
    }
  };
  return button;
}

/** Only what the chosen kind of job needs is asked for. */
function fit() {
  const form = $("job"), wanted = FIELDS[form.elements.kind.value];
  for (const name of new Set(Object.values(FIELDS).flat())) form.elements[name].closest("label").hidden = !wanted.includes(name);
}

$("job").elements.kind.onchange = fit;
fit();
$("job").onsubmit = async (event) => {
  event.preventDefault();
  const form = $("job"), given = form.elements, asked = { kind: given.kind.value };
  for (const name of FIELDS[asked.kind]) {
    const value = given[name].value.trim();
    if (value) asked[name] = name === "secs" || name === "response" ? Number(value) : value;
  }
  try {
    const made = await change("/jobs", { task: asked, node: given.node.value.trim() || null, priority: given.priority.value });
    say("The job " + made.id + " waits.");
    form.reset();
    fit();
    await refresh();
  } catch (error) { say(error.message); }
};
$("job-filter").onsubmit = (event) => {
  event.preventDefault();
  const wanted = new URLSearchParams();
  for (const [name, value] of new FormData($("job-filter"))) if (value) wanted.set(name, value);
  location.hash = link("jobs", wanted);
  refresh();
};
$("job-filter").elements.state.onchange = () => $("job-filter").requestSubmit();
