// The profiles: each as it is written, with its mistakes; what is in force and where it comes from; what an edit would change.

import { useEffect, useRef, useState } from "preact/hooks";
import * as format from "./format.ts";
import { Segments } from "./segments.tsx";
import { type Store, store, useStore } from "./store.ts";
import type {
  Citation,
  DraftVerdict,
  ProfileText,
  ReloadEntry,
  SettingChange,
  SettingInForce,
  SettingProblem,
} from "./wire.ts";

/** What is shown instead of a profile: the keys of the sidecar itself. */
const SIDECAR = "sidecar";

export function Profiles() {
  const page = useStore();
  const texts = page.effective?.profiles ?? [];
  const shown = page.profile ?? first(page) ?? SIDECAR;
  const profile = texts.find(({ name }) => name === shown);
  const users = Object.entries(page.status?.pools ?? {}).filter(([, pool]) => pool.profile === shown);
  return (
    <section class="profiles" id="profiles" aria-labelledby="h-prof">
      <div class="sec-head">
        <h2 id="h-prof">Profiles</h2>
        <Segments
          label="Profile shown"
          options={[
            ...texts.map(({ name }): [string, string] => [name, name]),
            ["the sidecar itself", SIDECAR],
          ]}
          value={shown}
          choose={(name) => store.set({ profile: name })}
        />
        <span class="sec-note">
          {profile
            ? users.length > 0
              ? `used by ${users.map(([name]) => name).join(", ")}`
              : "used by no pool"
            : ""}
        </span>
      </div>
      {page.effective ? (
        <div class="prof-body">
          <div>
            {profile ? (
              <Text key={profile.name} profile={profile} problems={problemsOf(page, profile.file)} />
            ) : (
              <Files />
            )}
          </div>
          <div>
            <Effective settings={page.effective.settings.filter(({ key }) => belongs(key, profile?.name))} />
            <LastReload reloads={page.reloads} />
          </div>
        </div>
      ) : (
        <p class="empty">The sidecar has not told its configuration yet.</p>
      )}
    </section>
  );
}

/** The profile with a mistake, else that of the pool shown. */
function first(page: Store): string | undefined {
  const files = new Set(page.configuration?.problems?.map(({ file }) => file));
  const wrong = page.effective?.profiles.find(({ file }) => files.has(file));
  return wrong?.name ?? page.status?.pools[page.pool]?.profile ?? page.effective?.profiles[0]?.name;
}

function problemsOf(page: Store, file: string): SettingProblem[] {
  return (page.configuration?.problems ?? []).filter((problem) => problem.file === file);
}

function belongs(key: string, profile: string | undefined): boolean {
  return profile === undefined ? !key.startsWith("profile.") : key.startsWith(`profile.${profile}.`);
}

function Files() {
  const { configuration } = useStore();
  const problems = (configuration?.problems ?? []).filter(
    ({ file }) => !store.effective?.profiles.some((profile) => profile.file === file),
  );
  return (
    <>
      <p>
        {configuration?.files.length
          ? `In force since ${format.time(configuration.in_force_since_ms)}, from:`
          : "No file was given; every key has its default or is set from outside."}
      </p>
      <ul class="files">
        {configuration?.files.map((file) => (
          <li key={file}>
            <code>{file}</code>
          </li>
        ))}
      </ul>
      <Problems problems={problems} />
      {configuration?.needs_restart?.length ? (
        <p>Changed, and in force only after a restart: {configuration.needs_restart.join(", ")}.</p>
      ) : null}
    </>
  );
}

function Text({ profile, problems }: { profile: ProfileText; problems: SettingProblem[] }) {
  const [edited, setEdited] = useState<string | undefined>();
  const [verdict, setVerdict] = useState<DraftVerdict | string | undefined>();
  if (edited === undefined) {
    return (
      <>
        <Lines text={profile.text} problems={problems} />
        {profile.text ? null : (
          <p class="dim">The file's text is not shown: it cannot be read, or it is no profile.</p>
        )}
        <Problems problems={problems} />
        <p class="prof-act">
          <button
            type="button"
            class="btn"
            onClick={() => {
              setEdited(profile.text);
              setVerdict(undefined);
            }}
          >
            Edit and check
          </button>
          <span class="dim">
            {profile.file}. Checks the text and shows what would change. Applies nothing.
          </span>
        </p>
      </>
    );
  }
  const check = async () => setVerdict(await consider(profile.name, edited));
  return (
    <>
      <textarea
        class="toml edit"
        aria-label={`Text of the profile ${profile.name}, to be checked`}
        spellcheck={false}
        rows={22}
        value={edited}
        onInput={(event) => {
          setEdited(event.currentTarget.value);
          setVerdict(undefined);
        }}
      />
      <div role="status">{verdict === undefined ? null : <Verdict verdict={verdict} />}</div>
      <p class="prof-act">
        <button type="button" class="btn main" onClick={() => void check()}>
          Check
        </button>
        <button type="button" class="btn" onClick={() => setEdited(undefined)}>
          Drop the edit
        </button>
        <span class="dim">To apply a text, write it into {profile.file}.</span>
      </p>
    </>
  );
}

async function consider(profile: string, text: string): Promise<DraftVerdict | string> {
  try {
    const answer = await fetch("/api/v1/configuration/check", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ profile, text }),
    });
    if (answer.ok) return (await answer.json()) as DraftVerdict;
    return ((await answer.json()) as { detail?: string }).detail ?? answer.statusText;
  } catch {
    return "The sidecar does not answer.";
  }
}

function Verdict({ verdict }: { verdict: DraftVerdict | string }) {
  if (typeof verdict === "string") return <p class="refused">{verdict}</p>;
  if (verdict.problems.length > 0) return <Problems problems={verdict.problems} />;
  if (verdict.changes.length === 0) {
    return (
      <Diagnosis
        good
        title="The text is valid."
        notes={["It says what is in force, so nothing would change."]}
      />
    );
  }
  return (
    <>
      <Diagnosis
        good
        title="The text is valid."
        notes={[
          verdict.needs_approval
            ? "It moves a limit far, so it would wait for an operator's approval. Nothing was applied."
            : "It would be in force within a second of being saved. Nothing was applied.",
        ]}
      />
      <ChangeList changes={verdict.changes} />
    </>
  );
}

export function ChangeList({ changes }: { changes: SettingChange[] }) {
  return (
    <table class="ev">
      <thead>
        <tr>
          <th scope="col">Key</th>
          <th scope="col">from</th>
          <th scope="col">to</th>
        </tr>
      </thead>
      <tbody>
        {changes.map((change) => (
          <tr key={change.key}>
            <td>
              {change.key}
              {change.drastic ? " (far)" : ""}
            </td>
            <td>{change.from ?? format.DASH}</td>
            <td>{change.to ?? format.DASH}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** The text with its lines counted, and the lines with a mistake marked. */
function Lines({ text, problems }: { text: string; problems: SettingProblem[] }) {
  const place = useRef<HTMLElement>(null);
  const firstWrong = problems[0]?.line;
  useEffect(() => {
    const box = place.current;
    const line = box?.children[(firstWrong ?? 1) - 1] as HTMLElement | undefined;
    if (box && line) box.scrollTop = Math.max(0, line.offsetTop - box.offsetTop - box.clientHeight / 2);
  }, [firstWrong, text]);
  const wrong = new Map(problems.map((problem) => [problem.line, problem]));
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reached by the keyboard
    <section class="toml" tabIndex={0} ref={place} aria-label="Text of the profile">
      {text
        .replace(/\n$/, "")
        .split("\n")
        .map((line, index) => {
          const problem = wrong.get(index + 1);
          return (
            <div key={index} class={problem ? "tl err" : "tl"} id={problem ? `line-${index + 1}` : undefined}>
              <i>{index + 1}</i>
              <span>{problem ? <Wrong line={line} column={problem.column} /> : <Line line={line} />}</span>
            </div>
          );
        })}
    </section>
  );
}

function Wrong({ line, column }: { line: string; column: number | undefined }) {
  const letters = [...line];
  const start = Math.max(0, (column ?? 1) - 1);
  return (
    <>
      {letters.slice(0, start).join("")}
      <u>{letters.slice(start).join("") || " "}</u>
    </>
  );
}

function Line({ line }: { line: string }) {
  if (/^\s*#/.test(line)) return <span class="c">{line}</span>;
  if (/^\s*\[/.test(line)) return <span class="h">{line}</span>;
  const pair = /^([^=]*=\s*)(.*)$/.exec(line);
  if (!pair) return line;
  return (
    <>
      {pair[1]}
      <span class={pair[2]?.startsWith('"') ? "s" : "v"}>{pair[2]}</span>
    </>
  );
}

function Problems({ problems }: { problems: SettingProblem[] }) {
  const { configuration } = useStore();
  return (
    <>
      {problems.map((problem) => (
        <Diagnosis
          key={`${problem.file}-${problem.line}-${problem.column}`}
          title={`${problem.line === undefined ? problem.file : `Line ${problem.line}, column ${problem.column}`}: ${problem.message}.`}
          notes={[
            ...(problem.notes ?? []),
            ...(configuration?.problems?.includes(problem)
              ? [
                  `The file is set aside whole; the version of ${format.time(configuration.in_force_since_ms)} goes on working.`,
                ]
              : []),
          ]}
        />
      ))}
    </>
  );
}

function Diagnosis({ title, notes, good }: { title: string; notes: string[]; good?: boolean }) {
  return (
    <div class={good ? "diag ok" : "diag"}>
      <svg
        viewBox="0 0 16 16"
        width="16"
        height="16"
        fill="none"
        stroke="currentColor"
        stroke-width="1.5"
        aria-hidden="true"
      >
        {good ? <circle cx="8" cy="8" r="6.2" /> : <path d="M5 1.5h6L14.5 5v6L11 14.5H5L1.5 11V5z" />}
        <path d={good ? "M5 8.2l2.2 2.2L11 6" : "M5.5 5.5l5 5M10.5 5.5l-5 5"} />
      </svg>
      <span>
        <b>{title}</b>
        {notes.map((note) => (
          <span key={note} class="dim">
            {" "}
            {note.charAt(0).toUpperCase() + note.slice(1)}
            {/[.!?]$/.test(note) ? "" : "."}
          </span>
        ))}
      </span>
    </div>
  );
}

function Effective({ settings }: { settings: SettingInForce[] }) {
  const bare = (key: string) => key.replace(/^profile\.[^.]*\./, "");
  return (
    <table class="eff">
      <thead>
        <tr>
          <th scope="col">In force</th>
          <th scope="col">value</th>
          <th scope="col">comes from</th>
        </tr>
      </thead>
      <tbody>
        {settings.map((setting) => (
          <tr key={setting.key}>
            <td>{bare(setting.key)}</td>
            <td>{withUnit(setting)}</td>
            <td>
              <Origin origin={setting.origin} />
              {setting.live ? "" : " (a change needs a restart)"}
            </td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

const SIZES: Record<string, number> = {
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
  KiB: 1024,
  MiB: 1_048_576,
  GiB: 1_073_741_824,
};

/** A value with its unit. A bare number of a knob is told as its line in the file tells it, if that says the same. */
function withUnit({ key, value, origin }: SettingInForce): string {
  if (!key.includes(".other_knobs.") || !/^\d+$/.test(value)) return format.unquoted(value);
  const file = store.effective?.profiles.find((profile) => profile.file === origin?.file);
  const line = file?.text.split("\n")[(origin?.line ?? 0) - 1] ?? "";
  const [, count, unit] = /=\s*"([\d.]+)\s*([A-Za-z]+)"/.exec(line) ?? [];
  const same = unit !== undefined && Number(count) * (SIZES[unit] ?? Number.NaN) === Number(value);
  return same ? `${count}${unit}` : value;
}

function Origin({ origin }: { origin: Citation | undefined }) {
  if (!origin) return <>default</>;
  if (origin.file.startsWith("$")) {
    return (
      <>
        <span class="tag">environment</span>
        {origin.file.slice(1)}
      </>
    );
  }
  if (origin.file.startsWith("--")) {
    return (
      <>
        <span class="tag">option</span>
        {origin.file}
      </>
    );
  }
  return (
    <span title={`${origin.file}:${origin.line}:${origin.column}`}>
      {origin.file.startsWith("built-in/") ? "built in, " : ""}
      {origin.file.split("/").pop()}, line {origin.line}
    </span>
  );
}

const RESULTS: Record<ReloadEntry["result"], string> = {
  applied: "in force",
  refused: "refused",
  waiting: "waits for approval",
  approved: "approved, in force",
  rejected: "rejected",
  withdrawn: "taken back",
};

function LastReload({ reloads }: { reloads: ReloadEntry[] }) {
  const last = reloads[reloads.length - 1];
  return (
    <dl class="reload">
      <dt>Last reload</dt>
      <dd>
        {last
          ? `${format.time(last.at_ms)}, ${RESULTS[last.result]}: ${changed(last)}.`
          : "The files were not changed since the sidecar's start."}
      </dd>
    </dl>
  );
}

function changed({ changes, problems }: ReloadEntry): string {
  if (problems?.length) return `${problems.length} ${problems.length === 1 ? "mistake" : "mistakes"}`;
  if (changes.length === 0) return "no key changed";
  const shown = changes
    .slice(0, 6)
    .map(({ key, from, to }) => `${key} ${from ?? "unset"} → ${to ?? "unset"}`);
  const more = changes.length > 6 ? ` and ${changes.length - 6} more` : ", nothing else";
  return shown.join(", ") + more;
}
