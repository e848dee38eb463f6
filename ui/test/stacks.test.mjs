// Folded stacks as a tree: widths, own time, what moved, and the tree turned over.

import assert from "node:assert/strict";
import { it } from "node:test";
import { build } from "esbuild";

const { outputFiles } = await build({
  entryPoints: ["src/stacks.ts"],
  bundle: true,
  format: "esm",
  write: false,
});
const { change, layout, moves, parse } = await import(
  `data:text/javascript,${encodeURIComponent(outputFiles[0].text)}`
);

const BOTH = "main;handle;parse 60 20\nmain;handle 20 20\nmain;wait 20 60\n";

it("a cell is as wide as its share, and what is called lies within its caller", () => {
  const cells = layout(parse(BOTH, true), "after", 0);
  const of = (name) => cells.find(({ frame }) => frame.name === name);
  assert.deepEqual(
    [of("handle").width, of("wait").width, of("parse").width, of("wait").left],
    [0.4, 0.6, 0.2, 0.4],
  );
  assert.equal(of("parse").depth, 3);
});

it("what moved is own time, in points, the largest move first", () => {
  const root = parse(BOTH, true);
  assert.deepEqual(
    moves(root).map(({ name, before, after }) => [name, before, after]),
    [
      ["parse", 60, 20],
      ["wait", 20, 60],
      ["handle", 20, 20],
    ],
  );
  const handle = root.calls.get("main").calls.get("handle");
  assert.equal(Math.round(change(handle, root)), 0, "a trunk is not coloured by its leaves");
  assert.equal(Math.round(change(handle, root, true)), -40);
});

it("turned over, functions are roots and their callers lie below", () => {
  const root = parse("main;handle;parse 3\nmain;parse 1\n", false, true);
  assert.deepEqual([...root.calls.keys()], ["parse"]);
  assert.deepEqual([...root.calls.get("parse").calls.keys()].sort(), ["handle", "main"]);
  assert.deepEqual(root.total, [0, 4]);
});

it("names with spaces and numbers, and lines that are none, are read with care", () => {
  const root = parse("a b 7;c d 9 12\nnonsense\n\n", false);
  assert.deepEqual([...root.calls.keys()], ["a b 7"]);
  assert.deepEqual(root.total, [0, 12]);
});

it("a run of single calls is one row until it is opened, and what moved is never in it", () => {
  const runtime = Array.from({ length: 60 }, (_, at) => `poll${at}`).join(";");
  const root = parse(`${runtime};work;parse 40 10\n${runtime};work;write 10 40\n`, true);
  const folded = layout(root, "both", 0.004, () => false);
  const rows = folded.map(({ frame, run, depth }) => [depth, run.length > 1 ? run.length : frame.name]);
  assert.deepEqual(rows, [
    [0, "all"],
    [1, 60],
    [2, "work"],
    [3, "parse"],
    [3, "write"],
  ]);
  const [, run] = folded;
  const open = layout(root, "both", 0.004, (frame) => run.run.includes(frame));
  assert.equal(open.length, 1 + 60 + 3, "each call has a row of its own");
});
