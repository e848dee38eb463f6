// Entries gathered into changes, whatever the order in which they come.

import assert from "node:assert/strict";
import { it } from "node:test";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/changes.ts"],
  bundle: true,
  format: "esm",
  write: false,
});
const { Ledger } = await import(`data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`);

function decision(sequence, action, text) {
  const set = { workers: { from: 10, to: 15 } };
  const change = action === "hold" ? undefined : { generation: 1, set };
  const reason = { kind: action === "hold" ? "ample" : action };
  const head = {
    id: `boot-${sequence}`,
    at_ms: sequence,
    moment_ns: sequence,
    pool: "web",
    instance: "one",
    text,
  };
  return { ...head, entry: "decision", action, change, reason, evidence: {} };
}

it("a verdict that comes before its beginning is joined with it", () => {
  const ledger = new Ledger();
  ledger.add([decision(2, "confirm", "Keeps it.")]);
  ledger.add([decision(1, "try", "Tries it."), decision(2, "confirm", "Keeps it.")]);
  const [change, ...others] = ledger.newest();
  assert.equal(others.length, 0);
  assert.equal(change.fate, "kept");
  assert.equal(change.begun.text, "Tries it.");
  assert.equal(change.judged.text, "Keeps it.");
});

function ended(sequence, status) {
  return { ...decision(sequence, "hold", "Held: the trial ended."), reason: { kind: "trial_ended", status } };
}

it("a trial that the host ended is what the sidecar counts it as", () => {
  for (const [status, fate] of [
    ["expired", "rolled back"],
    ["superseded", "rolled back"],
    ["confirmed", "kept"],
    ["trial", "trial"],
  ]) {
    const ledger = new Ledger();
    ledger.add([decision(1, "try", "Tries it."), ended(2, status)]);
    assert.equal(ledger.newest()[0].fate, fate, status);
  }
});

it("a trial that the host refused was never made", () => {
  const ledger = new Ledger();
  const outcome = {
    entry: "outcome",
    action: "try",
    generation: 1,
    took_us: 1,
    pool: "web",
    instance: "one",
  };
  ledger.add([
    decision(1, "try", "Tries it."),
    { ...outcome, id: "boot-2", at_ms: 2, moment_ns: 2, text: "Refused.", reason: { kind: "refused" } },
  ]);
  assert.equal(ledger.newest()[0].fate, "refused");
});

it("decisions to hold are counted by reason, each once", () => {
  const ledger = new Ledger();
  const holds = [decision(1, "hold", "Held: a."), decision(2, "hold", "Held: b.")];
  ledger.add(holds);
  ledger.add(holds);
  assert.deepEqual([...ledger.held], [["ample", { count: 2, text: "Held: b.", pool: "web" }]]);
  assert.equal(ledger.changes.size, 0);
});
