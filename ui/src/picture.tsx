// One flamegraph as a picture of buttons, and the table that says the same to those who cannot read it.

import { useState } from "preact/hooks";
import * as format from "./format.ts";
import { type Cell, change, type Frame, layout, type Move, moves, type Side, weight } from "./stacks.ts";

/** A frame that is narrower than this share of the picture is left out. */
const LEAST = 0.004;
/** How many rows are shown, a run of single calls being one: an asynchronous runtime's stacks are a hundred calls deep. */
const ROWS_MAX = 40;
const ROW = 21;
/** How many functions the table has. */
const TABLE_ROWS = 10;

export function Picture(properties: {
  root: Frame;
  /** The same with callers above what they called, for the sentence. */
  plain: Frame;
  side: Side;
  compares: boolean;
  find: string;
  rootBelow: boolean;
}) {
  const { root, plain, side, compares, find, rootBelow } = properties;
  const [zoom, setZoom] = useState<string[]>([]);
  const [opened, setOpened] = useState<ReadonlySet<Frame>>(new Set());
  const top = follow(root, zoom);
  // Turned over, the functions at the root are what one looks for, so each has its own row.
  const atRoot = (frame: Frame) => root !== plain && root.calls.get(frame.name) === frame;
  const all = layout(top, side, LEAST, (frame) => opened.has(frame) || atRoot(frame));
  const anyOpen = all.some(({ frame }) => opened.has(frame));
  const cells = all.filter(({ depth }) => depth < ROWS_MAX);
  const cut = cells.length < all.length;
  const rows = Math.max(1, ...cells.map(({ depth }) => depth + 1));
  const wanted = find.toLowerCase();
  const found = wanted === "" ? undefined : foundShare(root, side, wanted);
  return (
    <div>
      <p class="fg-say">
        {found === undefined ? (
          say(moves(plain), compares, plain)
        ) : (
          <>
            “{find}” is in {format.number(found)} % of the samples.
          </>
        )}
        {cut ? <span class="dim">Deeper calls are shown when a frame is pressed.</span> : null}
        {top === root ? null : (
          <button type="button" class="lnk" onClick={() => setZoom([])}>
            Show all
          </button>
        )}
        {anyOpen ? (
          <button type="button" class="lnk" onClick={() => setOpened(new Set())}>
            Fold single calls again
          </button>
        ) : null}
      </p>
      <div class="fg" style={{ height: `${rows * ROW}px` }}>
        {cells.map((cell) => (
          <Call
            key={`${cell.depth}-${cell.left}-${cell.frame.name}`}
            cell={cell}
            root={root}
            top={top}
            side={side}
            compares={compares}
            reversed={root !== plain && top === root}
            place={rootBelow ? rows - 1 - cell.depth : cell.depth}
            hit={wanted === "" ? undefined : cell.run.some(({ name }) => name.toLowerCase().includes(wanted))}
            open={() => {
              if (cell.run.length > 1) setOpened(new Set([...opened, ...cell.run]));
              else setZoom(pathTo(root, cell.frame) ?? []);
            }}
          />
        ))}
      </div>
    </div>
  );
}

function Call(properties: {
  cell: Cell;
  root: Frame;
  top: Frame;
  side: Side;
  compares: boolean;
  /** Whether functions stand at the root, each with its own time. */
  reversed: boolean;
  place: number;
  hit: boolean | undefined;
  open: () => void;
}) {
  const { cell, root, side, compares, place, hit, open } = properties;
  const { frame, left, width } = cell;
  const part = (weight(frame.total, side) / Math.max(1, weight(root.total, side))) * 100;
  const points = change(frame, root, properties.reversed && cell.depth === 1);
  const moved =
    compares && Math.abs(points) >= 0.5
      ? `, own time ${format.signed(points)} points`
      : compares
        ? ", own time unchanged"
        : "";
  const many = cell.run.length > 1;
  const name = many ? `… ${cell.run.length} calls` : frame.name;
  const whole = many ? `${cell.run.length} calls, ${frame.name} to ${last(cell).name}` : frame.name;
  const what = many ? "; press to show each" : "";
  const text = `${whole}: ${format.number(Math.round(part * 10) / 10)} % of the samples${moved}${what}`;
  const look = compares ? tint(points) : `plain${cell.depth % 2}`;
  return (
    <button
      type="button"
      class={`fr ${look}${many ? " run" : ""}${hit === undefined ? "" : hit ? " hit" : " miss"}`}
      style={{ left: `${left * 100}%`, width: `${width * 100}%`, top: `${place * ROW}px` }}
      title={text}
      aria-label={text}
      tabIndex={width < 0.02 ? -1 : 0}
      onClick={open}
    >
      {width > 0.03 ? name : ""}
    </button>
  );
}

function last({ run, frame }: Cell): Frame {
  return run[run.length - 1] ?? frame;
}

/** Three blues for less, three oranges for more, by points of own time. */
function tint(points: number): string {
  const size = Math.abs(points) >= 3 ? 3 : Math.abs(points) >= 1.5 ? 2 : Math.abs(points) >= 0.5 ? 1 : 0;
  return size === 0 ? "same" : `${points < 0 ? "less" : "more"}${size}`;
}

function follow(root: Frame, path: string[]): Frame {
  let at = root;
  for (const name of path) at = at.calls.get(name) ?? at;
  return at;
}

function pathTo(root: Frame, wanted: Frame): string[] | undefined {
  if (root === wanted) return [];
  for (const call of root.calls.values()) {
    const rest = pathTo(call, wanted);
    if (rest) return [call.name, ...rest];
  }
  return undefined;
}

/** The share of samples with such a function anywhere in their stack. */
function foundShare(root: Frame, side: Side, wanted: string): number {
  const visit = (at: Frame): number => {
    if (at.name.toLowerCase().includes(wanted)) return weight(at.total, side);
    return [...at.calls.values()].reduce((sum, call) => sum + visit(call), 0);
  };
  const all = [...root.calls.values()].reduce((sum, call) => sum + visit(call), 0);
  return Math.round((all / Math.max(1, weight(root.total, side))) * 1000) / 10;
}

function tenth(value: number): string {
  return format.number(Math.round(value * 10) / 10);
}

/** The main move in a sentence. */
function say(list: Move[], compares: boolean, root: Frame): string {
  const [first, second] = list;
  if (!first) return "There is no sample in this time.";
  if (!compares) {
    const most = second ? `, then ${second.name} with ${tenth(second.after)} %` : "";
    return `${first.name} takes most of the time by itself, ${tenth(first.after)} % of the samples${most}.`;
  }
  if (Math.min(...root.total) === 0) return "One of the two sides has no sample, so nothing is compared.";
  const moved = ({ name, before, after }: Move) =>
    `${name} ${after < before ? "fell" : "rose"} from ${tenth(before)} to ${tenth(after)} % of the samples`;
  if (Math.abs(first.after - first.before) < 0.5) return "No function's own time moved by half a point.";
  const other = list.find((move) => move.after > move.before !== first.after > first.before);
  const rest = other && Math.abs(other.after - other.before) >= 0.5 ? `; ${moved(other)}` : "";
  return `${moved(first)}${rest}.`;
}

export function Table({ root, compares, find }: { root: Frame; compares: boolean; find: string }) {
  const wanted = find.toLowerCase();
  const rows = moves(root)
    .filter(({ name }) => name.toLowerCase().includes(wanted))
    .slice(0, TABLE_ROWS);
  const widest = Math.max(0.1, ...rows.map((row) => Math.abs(row.after - row.before)));
  return (
    <table class="ftable">
      <colgroup>
        <col class="c1" />
        {compares ? <col class="c2" /> : null}
        <col class="c2" />
        {compares ? <col class="c4" /> : null}
      </colgroup>
      <thead>
        <tr>
          <th scope="col">{compares ? "Own time, biggest moves" : "Own time"}</th>
          {compares ? <th scope="col">before</th> : null}
          <th scope="col">{compares ? "after" : "share"}</th>
          {compares ? <th scope="col">change</th> : null}
        </tr>
      </thead>
      <tbody>
        {rows.map((row) => (
          <tr key={row.name}>
            <td title={row.name}>{row.name}</td>
            {compares ? <td>{tenth(row.before)} %</td> : null}
            <td>{tenth(row.after)} %</td>
            {compares ? (
              <td class="dl">
                <Bar points={row.after - row.before} widest={widest} />
                {format.signed(row.after - row.before)}
              </td>
            ) : null}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

function Bar({ points, widest }: { points: number; widest: number }) {
  const wide = (Math.abs(points) / widest) * 26;
  return (
    <svg class="mini" width="56" height="10" aria-hidden="true">
      <rect
        x={points < 0 ? 28 - wide : 28}
        y="1"
        width={wide}
        height="8"
        fill={points < 0 ? "var(--s1)" : "var(--s2)"}
      />
      <path d="M28 0v10" stroke="var(--edge)" />
    </svg>
  );
}
