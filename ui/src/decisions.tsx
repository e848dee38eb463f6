// The decisions: what was changed, why, what was expected, what came of it. Decisions to hold are folded and counted.

import { useRef, useState } from "preact/hooks";
import {
  type Act,
  asked,
  cameOf,
  concerns,
  type Item,
  isAct,
  newestFirst,
  result,
  way,
  who,
} from "./acts.ts";
import { type Change, FATE_WORDS, type Fate } from "./changes.ts";
import * as deeds from "./deeds.ts";
import { lookAt } from "./flame.tsx";
import * as format from "./format.ts";
import { Glyph } from "./glyph.tsx";
import { cardId } from "./lane.tsx";
import { ChangeList } from "./profiles.tsx";
import { Segments } from "./segments.tsx";
import { type Store, store, useStore } from "./store.ts";
import type { DecisionEntry, Figures, Verdict } from "./wire.ts";

/** How many decisions are shown before the older ones are asked for. */
const SHOWN = 9;

export function Decisions() {
  const page = useStore();
  const pools = Object.keys(page.status?.pools ?? {});
  const [more, setMore] = useState(0);
  const changes = newestFirst(page.ledger.newest(), page.acts).filter((item) => wanted(page, item));
  // What came after a card was opened stays above a line, so that nothing moves what is being read.
  const reading = useRef<{ key: string; newest: string | undefined } | undefined>(undefined);
  if (page.openChange === undefined) reading.current = undefined;
  else if (reading.current?.key !== page.openChange) {
    reading.current = { key: page.openChange, newest: changes[0]?.key };
  }
  const newest = reading.current?.newest;
  const newer =
    newest === undefined
      ? 0
      : Math.max(
          0,
          changes.findIndex(({ key }) => key === newest),
        );
  const calm = changes.slice(newer);
  const opened = calm.findIndex((change) => change.key === page.openChange);
  const shown = Math.max(SHOWN + more, opened + 1);
  return (
    <section class="decisions" id="decisions" aria-labelledby="h-dec">
      <div class="sec-head">
        <h2 id="h-dec">Decisions</h2>
        <Segments
          label="Kind of decision"
          options={[
            ["all", "all"],
            ["kept", "kept"],
            ["rolled back", "rolled back"],
            ["planned", "planned"],
            ["operators", "operator"],
          ]}
          value={page.kind}
          choose={(kind) => store.set({ kind: kind as Store["kind"] })}
        />
        {/* One pool is no choice. */}
        <label class="pick" hidden={pools.length < 2}>
          <span class="vh">Pool of the decisions</span>
          <select
            value={page.onlyPool ?? ""}
            onChange={(event) =>
              store.set({ onlyPool: event.currentTarget.value || undefined } as Partial<Store>)
            }
          >
            <option value="">every pool</option>
            {pools.map((name) => (
              <option key={name} value={name}>
                {name}
              </option>
            ))}
          </select>
        </label>
      </div>
      <ol class="dlist">
        <Waiting />
        {newer > 0 ? (
          <li class="newer">
            <button
              type="button"
              class="lnk"
              onClick={() => {
                reading.current = undefined;
                store.changed();
              }}
            >
              {newer} newer
            </button>
          </li>
        ) : null}
        {calm.slice(0, shown).map((item) => {
          const open = page.openChange === item.key;
          if (isAct(item)) return <ActCard key={item.key} act={item} open={open} />;
          return <Card key={item.key} change={item} open={open} />;
        })}
      </ol>
      {calm.length > shown ? (
        <button type="button" class="lnk older" onClick={() => setMore(shown + 20 - SHOWN)}>
          Show older, {calm.length - shown} more
        </button>
      ) : null}
      {changes.length === 0 ? <p class="empty">{nothing(page)}</p> : null}
      <Held />
    </section>
  );
}

/** The configuration that waits for a word. */
function Waiting() {
  const { configuration } = useStore();
  const waiting = configuration?.waiting ?? [];
  const far = waiting.filter(({ drastic }) => drastic);
  const [first] = far;
  if (!first) return null;
  const more = waiting.length - 1;
  return (
    <li class="d open waits" id="waiting">
      <div class="d-h">
        <span class="d-g">
          <Glyph fate="advised" />
        </span>
        <span class="d-w">
          {first.key} {first.from} → {first.to}
        </span>
        <span class="d-o">
          <b class="o-wait">waits for you</b>
        </span>
        <span class="d-y">
          The edited files move a limit far{more > 0 ? `, and change ${more} more` : ""}. What was in force
          before stays so until you say.
        </span>
      </div>
      <div class="d-b">
        <ChangeList changes={waiting} />
        <div class="d-a">
          <button
            type="button"
            class="lnk"
            onClick={() => store.set({ deed: deeds.approve(waiting.length) })}
          >
            Approve…
          </button>
          <button type="button" class="lnk" onClick={() => store.set({ deed: deeds.reject() })}>
            Reject…
          </button>
        </div>
      </div>
    </li>
  );
}

/** Whether the list's filter lets a change through. */
export function wanted(page: Store, change: Item): boolean {
  const planned = change.fate === "advised" || change.fate === "observed";
  const kind = page.kind === "all" || change.fate === page.kind || (page.kind === "planned" && planned);
  return kind && (page.onlyPool === undefined || concerns(change, page.onlyPool));
}

function nothing(page: Store): string {
  if (page.kind === "operator") return "No operator did anything here yet.";
  if (page.ledger.changes.size > 0) return "No decision of this kind.";
  return "Nothing was changed yet. Below is why, each time.";
}

function Card({ change, open }: { change: Change; open: boolean }) {
  return (
    <li
      class={open ? "d open" : "d"}
      id={cardId(change)}
      onMouseEnter={() => store.set({ hot: change.key })}
      onMouseLeave={() => store.set({ hot: undefined })}
    >
      <button
        type="button"
        class="d-h"
        aria-expanded={open}
        onClick={() => store.set({ openChange: open ? undefined : change.key } as Partial<Store>)}
      >
        <span class="d-g">
          <Glyph fate={change.fate} />
        </span>
        <span class="d-w">
          {change.generation === undefined ? null : <span class="n">{change.generation}</span>}
          {title(change)}
        </span>
        <span class="d-o">
          <b class={tone(change.fate)}>{FATE_WORDS[change.fate]}</b> · {format.time(change.begun.at_ms)}
        </span>
        <span class="d-y">{sentence(change)}</span>
      </button>
      {open ? <Body change={change} /> : null}
    </li>
  );
}

/** What an operator did: who, by which way, when, what, and what came of it. */
function ActCard({ act, open }: { act: Act; open: boolean }) {
  const { entry } = act;
  return (
    <li
      class={open ? "d open" : "d"}
      id={cardId(act)}
      onMouseEnter={() => store.set({ hot: act.key })}
      onMouseLeave={() => store.set({ hot: undefined })}
    >
      <button
        type="button"
        class="d-h"
        aria-expanded={open}
        onClick={() => store.set({ openChange: open ? undefined : act.key })}
      >
        <span class="d-g">
          <Glyph fate="operator" />
        </span>
        <span class="d-w">
          {who(entry)}: {asked(entry)}
        </span>
        <span class="d-o">
          <b class={entry.outcome.result === "done" ? "o-trial" : "o-wait"}>{result(entry)}</b> ·{" "}
          {format.time(entry.at_ms)}
        </span>
        <span class="d-y">{cameOf(entry)}</span>
      </button>
      {open ? (
        <dl class="d-b act">
          <dt>Who</dt>
          <dd>{who(entry)}, an operator</dd>
          <dt>How</dt>
          <dd>{way(entry)}</dd>
          <dt>When</dt>
          <dd>{format.date(entry.at_ms)}</dd>
          <dt>What</dt>
          <dd>
            {asked(entry)}
            {entry.asked.with?.for_ms === undefined
              ? ""
              : `, for ${format.span(entry.asked.with.for_ms / 1000)}`}
          </dd>
        </dl>
      ) : null}
    </li>
  );
}

function title(change: Change): string {
  const parts = change.set.map(({ knob, from, to }) => `${knob} ${from} → ${to}`);
  return `${change.pool} ${parts.join(", ")}`;
}

function tone(fate: Fate): string {
  return {
    kept: "o-kept",
    trial: "o-trial",
    "rolled back": "o-back",
    advised: "o-wait",
    observed: "o-wait",
    refused: "o-wait",
    unknown: "o-wait",
  }[fate];
}

/** The ledger's own sentences without the line of the profile, which stands below. */
function sentence(change: Change): string {
  const parts = [why(change.begun).replace(/; [^;]*$/, ".")];
  if (change.judged) parts.push(why(change.judged));
  else if (change.ended?.reason) parts.push(change.ended.text);
  return parts.join(" ");
}

function why(entry: DecisionEntry): string {
  const text = entry.text.replace(/ \(bound by [^()]*\)\.$/, ".");
  const colon = text.indexOf(": ");
  if (colon < 0) return text;
  const rest = text.slice(colon + 2);
  return rest.charAt(0).toUpperCase() + rest.slice(1);
}

function Body({ change }: { change: Change }) {
  const judged = change.judged ?? change.begun;
  const bounds = change.begun.bound_by ?? [];
  return (
    <div class="d-b">
      <EvidenceTable
        before={judged.evidence.before ?? change.begun.evidence.now}
        now={change.judged?.evidence.now}
      />
      <Proof change={change} />
      <p class="side">
        Regime {format.words(change.begun.regime)}, level {change.begun.level}, profile {change.begun.profile}
        .
        {change.begun.evidence.cpu_share === undefined
          ? ""
          : ` CPU of quota ${format.share(change.begun.evidence.cpu_share)}.`}
        {change.begun.evidence.memory_share === undefined
          ? ""
          : ` Memory of limit ${format.share(change.begun.evidence.memory_share)}.`}
      </p>
      {bounds.map((bound) => (
        <p class="side" key={bound.key}>
          Bound by <code>{bound.key}</code>,{" "}
          <span title={`${bound.file}:${bound.line}:${bound.column}`}>
            {bound.file === "" ? "built in" : `${bound.file.split("/").pop()}, line ${bound.line}`}
          </span>
          .
        </p>
      ))}
      <Links change={change} />
    </div>
  );
}

/** From a decision to its flamegraph, and to its undoing. */
function Links({ change }: { change: Change }) {
  const { status } = useStore();
  const pool = status?.pools[change.pool];
  const [first] = change.set;
  const undoes = change.fate === "kept" || change.fate === "trial";
  const { generation } = change;
  return (
    <div class="d-a">
      {generation === undefined ? null : (
        <button
          type="button"
          class="lnk"
          onClick={() => {
            lookAt(change);
            document.getElementById("flame")?.scrollIntoView();
          }}
        >
          Flamegraph before / after
        </button>
      )}
      {undoes && pool && first ? (
        <button
          type="button"
          class="lnk right"
          onClick={() => store.set({ deed: deeds.pin(change.pool, pool, first.knob, first.from) })}
        >
          Undo…
        </button>
      ) : null}
    </div>
  );
}

const ROWS: [string, (figures: Figures) => string][] = [
  ["workers", (figures) => format.number(figures.workers)],
  ["goodput, /s", (figures) => format.rate(figures.goodput_per_s)],
  ["arriving, /s", (figures) => format.rate(figures.arrivals_per_s)],
  ["busy", (figures) => format.rate(figures.busy)],
  ["queued", (figures) => format.rate(figures.queued)],
  ["rejected or late, /s", (figures) => format.rate(figures.lost_per_s)],
  ["failed, /s", (figures) => format.rate(figures.failed_per_s)],
  ["p50", (figures) => format.micros(figures.p50_us)],
  ["p99", (figures) => format.micros(figures.p99_us)],
  ["completed", (figures) => `${format.number(figures.completed)} in ${format.span(figures.seconds)}`],
];

function EvidenceTable({ before, now }: { before: Figures | undefined; now: Figures | undefined }) {
  if (!before && !now) return null;
  return (
    <table class="ev">
      <thead>
        <tr>
          <th scope="col">Evidence</th>
          <th scope="col">before</th>
          <th scope="col">on trial</th>
        </tr>
      </thead>
      <tbody>
        {ROWS.map(([name, show]) => (
          <tr key={name}>
            <td>{name}</td>
            <td>{before ? show(before) : format.DASH}</td>
            <td>{now ? show(now) : format.DASH}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Expected against measured: nought, the gain that keeps the change, what was expected, what came with two standard errors. */
function Proof({ change }: { change: Change }) {
  const verdict = change.judged?.reason.verdict;
  const base = change.begun.evidence.now?.goodput_per_s;
  const expected = change.begun.expectation;
  const hoped =
    expected?.goodput_per_s !== undefined && base !== undefined ? expected.goodput_per_s - base : undefined;
  const gain = measured(verdict);
  if (gain === undefined && hoped === undefined) return null;
  const error = 2 * (verdict?.error_per_s ?? 0);
  const least = expected?.least_gain_per_s;
  const ends = [
    0,
    hoped,
    gain === undefined ? undefined : gain - error,
    gain === undefined ? undefined : gain + error,
    least,
  ];
  const known = ends.filter((end) => end !== undefined);
  const [low, high] = [Math.min(...known), Math.max(...known)];
  const room = Math.max(high - low, 1e-9);
  const x = (value: number) => 20 + ((value - low) / room) * 260;
  return (
    <div class="proof">
      <svg viewBox="0 0 300 52" role="img" aria-label={proofText(hoped, gain, error, least)}>
        <line x1="8" x2="292" y1="26" y2="26" stroke="var(--line)" />
        {least === undefined ? null : (
          <line x1={x(least)} x2="292" y1="26" y2="26" stroke="var(--good)" stroke-width="3" opacity="0.5" />
        )}
        <line x1={x(0)} x2={x(0)} y1="18" y2="34" stroke="var(--edge)" />
        <text class="pt" x={x(0)} y="46" text-anchor="middle">
          0
        </text>
        {gain === undefined ? null : (
          <>
            <line
              x1={x(gain - error)}
              x2={x(gain + error)}
              y1="26"
              y2="26"
              stroke="var(--ink)"
              stroke-width="1.5"
            />
            <circle cx={x(gain)} cy="26" r="4" fill="var(--ink)" />
          </>
        )}
        {hoped === undefined ? null : (
          <path
            d={`M${x(hoped)} 21l5 5-5 5-5-5z`}
            fill="var(--paper)"
            stroke="var(--ink)"
            stroke-width="1.2"
          />
        )}
      </svg>
      <p class="side">{proofText(hoped, gain, error, least)}</p>
    </div>
  );
}

function measured(verdict: Verdict | undefined): number | undefined {
  if (verdict?.loss_per_s !== undefined) return -verdict.loss_per_s;
  return verdict?.gain_per_s;
}

function proofText(
  hoped: number | undefined,
  gain: number | undefined,
  error: number,
  least: number | undefined,
): string {
  const parts: string[] = [];
  if (hoped !== undefined) parts.push(`expected ${format.signed(hoped)} /s`);
  if (gain !== undefined) parts.push(`measured ${format.signed(gain)} ± ${format.rate(error)} /s`);
  if (least !== undefined) parts.push(`kept only above ${format.signed(least)} /s`);
  const text = parts.join("; ");
  return `Goodput: ${text}.`;
}

function Held() {
  const { ledger, status } = useStore();
  const counted = Object.entries(status?.held ?? {});
  const reasons = counted.sort(([, left], [, right]) => right - left);
  const total = reasons.reduce((sum, [, count]) => sum + count, 0);
  if (total === 0) return null;
  return (
    <details class="held">
      <summary>Held {format.number(total)} times since the sidecar's start and said why each time</summary>
      <ul>
        {reasons.map(([kind, count]) => {
          const last = ledger.held.get(kind);
          return (
            <li key={kind}>
              <b>{format.number(count)}</b>
              <span>
                {format.words(kind)}
                {last ? `; last, ${last.pool}: ${last.text}` : ""}
              </span>
            </li>
          );
        })}
      </ul>
    </details>
  );
}
