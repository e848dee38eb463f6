// Where the host's time goes: before and after a change, in a time that was chosen on the charts, or from now on.

import { useEffect, useMemo, useState } from "preact/hooks";
import type { Change } from "./changes.ts";
import * as format from "./format.ts";
import { Picture, Table } from "./picture.tsx";
import { Segments } from "./segments.tsx";
import { parse, type Side } from "./stacks.ts";
import { type Looked, store, useStore } from "./store.ts";

/** For how long a new graph is taken, in seconds. */
const NOW_SECONDS = 5;

interface Quality {
  kind: string;
  complete_percent: number;
  unknown_percent: number;
  quality: { samples: number; lost: number; collector: string };
}

type Answer =
  | { state: "asking" }
  | { state: "failed"; text: string }
  | { state: "here"; folded: string; quality: Quality[] };

export function Flamegraph() {
  const page = useStore();
  const { looked } = page;
  const address = looked ? addressOf(looked) : undefined;
  const [answer, setAnswer] = useState<Answer | undefined>();
  const [side, setSide] = useState<Side>("both");
  const [find, setFind] = useState("");
  const [shape, setShape] = useState("icicle");
  const compares = looked?.what === "change" || looked?.what === "compare";
  useEffect(() => {
    setSide("both");
    if (address === undefined) return undefined;
    let wanted = true;
    setAnswer({ state: "asking" });
    void ask(address).then((it) => wanted && setAnswer(it));
    return () => {
      wanted = false;
    };
  }, [address, looked?.at]);
  const folded = answer?.state === "here" ? answer.folded : "";
  const root = useMemo(
    () => parse(folded, compares, shape === "reversed"),
    [folded, compares, shape === "reversed"],
  );
  const plain = useMemo(() => parse(folded, compares), [folded, compares]);
  return (
    <section class="flame" id="flame" aria-labelledby="h-flame">
      <div class="sec-head">
        <h2 id="h-flame">Flamegraph</h2>
        {compares ? (
          <Segments
            label="Side of the comparison"
            options={[
              ["difference", "both"],
              ["before", "before"],
              ["after", "after"],
            ]}
            value={side}
            choose={(name) => setSide(name as Side)}
          />
        ) : null}
        <Segments
          label="Shape of the graph"
          options={[
            ["icicle", "icicle"],
            ["flame", "flame"],
            ["reversed", "reversed"],
          ]}
          value={shape}
          choose={setShape}
        />
        <Sources />
        <span class="sec-note">{looked ? about(looked) : ""}</span>
        <input
          class="find"
          type="search"
          placeholder="Find a function"
          aria-label="Find a function"
          value={find}
          onInput={(event) => setFind(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key !== "Escape") return;
            setFind("");
            event.currentTarget.blur();
          }}
        />
      </div>
      {answer?.state === "here" ? (
        <>
          <div class="flame-body">
            <Picture
              root={shape === "reversed" ? root : plain}
              plain={plain}
              side={compares ? side : "after"}
              compares={compares && side === "both"}
              find={find}
              rootBelow={shape === "flame"}
            />
            <Table root={plain} compares={compares} find={find} />
          </div>
          <Foot answer={answer} compares={compares} address={address ?? ""} />
        </>
      ) : (
        <p class="empty" role="status">
          {answer?.state === "asking"
            ? looked?.what === "now"
              ? `Looking at the host for ${NOW_SECONDS} s.`
              : "Drawing."
            : (answer?.text ?? nothing())}
        </p>
      )}
    </section>
  );
}

function nothing(): string {
  const remembers = store.effective?.settings.find(({ key }) => key === "flame.remember")?.value === '"on"';
  return remembers
    ? "Choose a change, or drag over a time on the charts, or look at the host now."
    : 'Nothing is remembered: set `flame.remember = "on"` to see each change before and after. The host can be looked at now all the same.';
}

/** What can be looked at. */
function Sources() {
  const { ledger, looked, range } = useStore();
  const judged = ledger.newest().filter((change) => change.generation !== undefined);
  const now = () => store.look({ what: "now" });
  return (
    <span class="sources">
      <label class="pick">
        <span class="vh">Change to look at</span>
        <select
          value={looked?.what === "change" ? (judged.find((change) => isOf(change, looked))?.key ?? "") : ""}
          onChange={(event) => {
            const change = judged.find(({ key }) => key === event.currentTarget.value);
            if (change) lookAt(change);
          }}
        >
          <option value="">before and after a change</option>
          {judged.slice(0, 30).map((change) => (
            <option key={change.key} value={change.key}>
              {named(change)}
            </option>
          ))}
        </select>
      </label>
      {range.zoom ? (
        <>
          <button type="button" class="btn small" onClick={() => chosen("window")}>
            The chosen time
          </button>
          <button type="button" class="btn small" onClick={() => chosen("compare")}>
            It and the time before
          </button>
        </>
      ) : null}
      <button type="button" class="btn small" onClick={now}>
        Look for {NOW_SECONDS} s
      </button>
    </span>
  );
}

function chosen(what: "window" | "compare"): void {
  const { zoom } = store.range;
  if (zoom) store.look({ what, from: zoom.from, until: zoom.to });
}

/** Looks at what was before and after a change. */
export function lookAt({ generation, begun }: Change): void {
  if (generation !== undefined) store.look({ what: "change", generation, instance: begun.instance });
}

/** A host numbers its changes anew with each run. */
function isOf(change: Change, looked: { generation: number; instance: string | undefined }): boolean {
  return change.generation === looked.generation && change.begun.instance === looked.instance;
}

function named(change: Change): string {
  const set = change.set.map(({ knob, from, to }) => `${knob} ${from} → ${to}`).join(", ");
  return `${change.generation}, ${change.pool} ${set}`;
}

function about(looked: Looked): string {
  switch (looked.what) {
    case "change": {
      const change = store.ledger.newest().find((change) => isOf(change, looked));
      return change ? `decision ${named(change)}` : `decision ${looked.generation}`;
    }
    case "now":
      return `from ${format.time(looked.at)} on`;
    default:
      return `${format.time(looked.from * 1000)} to ${format.time(looked.until * 1000)}`;
  }
}

/** The address of a graph without its format. */
function addressOf(looked: Looked): string | undefined {
  const host = `host=${encodeURIComponent(store.host ?? "")}`;
  switch (looked.what) {
    case "change": {
      const instance =
        looked.instance === undefined ? "" : `&instance=${encodeURIComponent(looked.instance)}`;
      return `/flamegraph/change/${looked.generation}?${host}${instance}`;
    }
    case "now":
      return `/flamegraph?seconds=${NOW_SECONDS}&${host}`;
    default: {
      const [from, until] = [store.history.momentOf(looked.from), store.history.momentOf(looked.until)];
      if (from === undefined || until === undefined) return undefined;
      const before = Math.max(0, from - (until - from));
      return looked.what === "window"
        ? `/flamegraph?from=${from}&until=${until}&${host}`
        : `/flamegraph/diff?a=${before}..${from}&b=${from}..${until}&${host}`;
    }
  }
}

async function ask(address: string): Promise<Answer> {
  try {
    const answer = await fetch(`${address}&format=folded`);
    if (!answer.ok) {
      const { detail } = (await answer.json()) as { detail?: string };
      return { state: "failed", text: inWords(detail ?? answer.statusText) };
    }
    const folded = await answer.text();
    const rated = await fetch("/profile/quality");
    const quality = rated.ok ? ((await rated.json()) as { recent: Quality[] }).recent : [];
    return { state: "here", folded, quality };
  } catch {
    return { state: "failed", text: "The sidecar does not answer." };
  }
}

function inWords(detail: string): string {
  const text = detail.charAt(0).toUpperCase() + detail.slice(1);
  return /[.!?]$/.test(text) ? text : `${text}.`;
}

function Foot({
  answer,
  compares,
  address,
}: {
  answer: Extract<Answer, { state: "here" }>;
  compares: boolean;
  address: string;
}) {
  const sides = answer.quality.slice(compares ? -2 : -1);
  const last = sides[sides.length - 1];
  const counts = sides.map(({ quality }) => format.number(quality.samples)).join(" and ");
  const formats = compares ? ["svg"] : ["svg", "pprof", "speedscope"];
  // A window that begins when it is asked for would be another one as a file.
  const past = !address.includes("seconds=");
  return (
    <p class="fg-foot">
      {compares ? (
        <span class="scale">
          3 points less <i class="less3" />
          <i class="less2" />
          <i class="less1" />
          <i class="same" />
          <i class="more1" />
          <i class="more2" />
          <i class="more3" /> 3 points more
        </span>
      ) : null}
      <span>own time, share of all samples</span>
      {last ? (
        <>
          <span>{counts} samples</span>
          <span>
            {format.number(last.complete_percent)} % complete stacks, {format.number(last.unknown_percent)} %
            unknown, {format.number(last.quality.lost)} lost
          </span>
          <span>{last.quality.collector}</span>
        </>
      ) : null}
      {past
        ? formats.map((name) => (
            <a key={name} href={`${address}&format=${name}`} target="_blank" rel="noreferrer">
              {name}
            </a>
          ))
        : null}
    </p>
  );
}
