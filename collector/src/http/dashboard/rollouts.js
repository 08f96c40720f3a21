// Rollouts of policy bundles, and what may be done about the one under way.
const ACTIONS = {
  pause: ["Pause", 1, (one) => one.state === "running"],
  resume: ["Go on", 1, (one) => one.state === "paused"],
  promote: ["Next step", 2, (one) => one.state === "running" || one.state === "paused"],
  rollback: ["Roll back", 1, (one) => one.state !== "rolled_back"],
};
const ROLLOUT_LOOKS = { running: "", paused: "warn", done: "good", rolled_back: "bad" };

async function showRollouts() {
  const [{ rollouts }, { bundles }] = await Promise.all([ask("/rollouts"), ask("/bundles")]);
  table("rollouts", rollouts, (one) => one.id, (one) => {
    const nodes = one.nodes;
    const have = nodes ? nodes.loaded + " of " + nodes.chosen + " have it" + (nodes.refused ? ", " + nodes.refused + " refused it" : "")
      + (nodes.missing ? ", " + nodes.missing + " missing" : "") : "–";
    return [one.name, [one.state.replace("_", " "), ROLLOUT_LOOKS[one.state] ?? ""], one.step + " of " + one.steps.length + ": " + one.steps[one.step - 1],
      [have, nodes?.refused ? "bad" : nodes?.missing ? "warn" : ""], clock(one.began), clock(one.ended), one.by, one.reason ?? "–"];
  }, "No bundle was rolled out yet. `rampart-collector bundle push` begins a rollout.");
  // What may be gone back to: the one under way, or else the newest that is done.
  const newest = rollouts.find((one) => one.state === "running" || one.state === "paused") ?? rollouts.find((one) => one.state === "done");
  for (const [at, one] of rollouts.entries()) {
    const row = $("rollouts-rows").rows[at];
    const offered = one === newest ? Object.keys(ACTIONS).filter((name) => ACTIONS[name][2](one)) : [];
    const cell = row.cells[8] ?? row.appendChild(make("td"));
    sync(cell, offered, (name) => name, (name) => act(one, name), (button, name) => {
      button.disabled = ROLES.indexOf(role) < ACTIONS[name][1];
    });
  }
  table("bundles", bundles, (one) => one.digest, (one) => [one.name, one.digest.slice(0, 12), clock(one.created), clock(one.pushed), one.by,
    one.files.join(", "), (one.bytes / 1024).toFixed(1) + " KiB"], "No bundle is kept.");
}

function act(rollout, name) {
  const button = make("button", ACTIONS[name][0]);
  button.type = "button";
  button.ariaLabel = ACTIONS[name][0] + ": " + plain(rollout.name);
  button.onclick = async () => {
    button.disabled = true;
    try {
      const done = await change("/rollouts/" + encodeURIComponent(rollout.id) + "/" + name);
      say("The rollout of " + plain(done.name) + " is " + done.state.replace("_", " ") + ".");
      await refresh();
    } catch (error) {
      say(error.message);
      button.disabled = false;
    }
  };
  return button;
}

