// Folded stacks as a tree: what a flamegraph shows, laid out and compared.

/** Samples before and after; a plain graph has only the second. */
export type Pair = [number, number];

export interface Frame {
  name: string;
  total: Pair;
  /** What the function itself took, without what it called. */
  own: Pair;
  calls: Map<string, Frame>;
}

export interface Cell {
  frame: Frame;
  /** The calls that share this row, from the caller on: each does nothing but call the next. */
  run: Frame[];
  depth: number;
  /** Where it begins and how wide it is, as shares of the whole. */
  left: number;
  width: number;
}

/** Which numbers make the widths. */
export type Side = "both" | "before" | "after";

function frame(name: string): Frame {
  return { name, total: [0, 0], own: [0, 0], calls: new Map() };
}

/** Reads folded stacks, with one number a line or with two. */
export function parse(text: string, compares: boolean, reversed = false): Frame {
  const root = frame("all");
  for (const line of text.split("\n")) {
    const read = (compares ? /^(.*) (\d+) (\d+)$/ : /^(.*) ()(\d+)$/).exec(line);
    if (!read) continue;
    const counts: Pair = [Number(read[2]), Number(read[3])];
    const names = (read[1] ?? "").split(";");
    if (reversed) names.reverse();
    let at = root;
    add(at.total, counts);
    for (const name of names) {
      let next = at.calls.get(name);
      if (!next) {
        next = frame(name);
        at.calls.set(name, next);
      }
      at = next;
      add(at.total, counts);
    }
    add(at.own, counts);
  }
  return root;
}

function add(to: Pair, what: Pair): void {
  to[0] += what[0];
  to[1] += what[1];
}

export function weight([before, after]: Pair, side: Side): number {
  return side === "before" ? before : side === "after" ? after : before + after;
}

/** Whether this frame has a row of its own, though it does nothing but call another. */
export type Opened = (frame: Frame) => boolean;

/** A run that is shorter than this is no gain as one row. */
const RUN_MIN = 3;

/** The cells of a picture whose root is this frame; what is narrower than `least` of the whole is left out. */
export function layout(root: Frame, side: Side, least: number, opened: Opened = () => true): Cell[] {
  const whole = weight(root.total, side);
  const cells: Cell[] = [];
  if (whole === 0) return cells;
  const put = (first: Frame, depth: number, left: number) => {
    const width = weight(first.total, side) / whole;
    if (width < least) return;
    const calling = first === root || opened(first) ? [] : runFrom(first, root, least);
    const run = calling.length < RUN_MIN ? [first] : calling;
    const at = run[run.length - 1] ?? first;
    cells.push({ frame: first, run, depth, left, width });
    let next = left;
    const calls = [...at.calls.values()].sort((one, other) => (one.name < other.name ? -1 : 1));
    for (const call of calls) {
      put(call, depth + 1, next);
      next += weight(call.total, side) / whole;
    }
  };
  put(root, 0, 0);
  return cells;
}

/** The calls from here on, each of which spends nothing that is seen on either side but in the next. */
function runFrom(first: Frame, root: Frame, least: number): Frame[] {
  const run: Frame[] = [];
  let at: Frame | undefined = first;
  while (at) {
    const next = soleCall(at, root, least);
    if (!next) break;
    run.push(at);
    at = next;
  }
  return run;
}

/** The one call in which a frame spends its time, if what it spends otherwise would not be seen. */
function soleCall(at: Frame, root: Frame, least: number): Frame | undefined {
  const calls = [...at.calls.values()];
  const most = calls.reduce<Frame | undefined>(
    (best, call) => (best && weight(best.total, "both") >= weight(call.total, "both") ? best : call),
    undefined,
  );
  if (!most) return undefined;
  const unseen = [0, 1].every(
    (side) => ((at.total[side] ?? 0) - (most.total[side] ?? 0)) / Math.max(1, root.total[side] ?? 0) < least,
  );
  return unseen ? most : undefined;
}

export interface Move {
  name: string;
  /** Shares of own time, in percent. */
  before: number;
  after: number;
}

/** The own time of each function, the largest moves first; in a plain graph the largest shares. */
export function moves(root: Frame): Move[] {
  const own = new Map<string, Pair>();
  const visit = (at: Frame) => {
    if (at.own[0] + at.own[1] > 0) {
      const known = own.get(at.name) ?? [0, 0];
      add(known, at.own);
      own.set(at.name, known);
    }
    for (const call of at.calls.values()) visit(call);
  };
  visit(root);
  const [all, now] = root.total;
  const share = (part: number, whole: number) => (whole === 0 ? 0 : (part / whole) * 100);
  const list = [...own].map(([name, [before, after]]) => ({
    name,
    before: share(before, all),
    after: share(after, now),
  }));
  const size = (move: Move) => (all === 0 ? move.after : Math.abs(move.after - move.before));
  return list.sort((one, other) => size(other) - size(one));
}

/** How many points more of its own time a frame took after than before; or of all its time. */
export function change(of: Frame, root: Frame, inAll = false): number {
  const [before, after] = root.total;
  if (before === 0 || after === 0) return 0;
  const [was, is] = inAll ? of.total : of.own;
  return (is / after - was / before) * 100;
}
