// The page as a whole, and its keys.

import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { dropCursor, moveCursor } from "./chart.tsx";
import { Charts } from "./charts.tsx";
import { Decisions } from "./decisions.tsx";
import * as deeds from "./deeds.ts";
import { Done, HandDialog } from "./dialog.tsx";
import { Flamegraph } from "./flame.tsx";
import * as format from "./format.ts";
import { Lead } from "./lead.tsx";
import { HandsOfPool, Pools } from "./pools.tsx";
import { Profiles } from "./profiles.tsx";
import { StateBar } from "./states.tsx";
import { store, useStore } from "./store.ts";

const THEME_KEY = "trimtab-theme";

function Page() {
  const { status, link } = useStore();
  const faded = link.state === "lost" || status?.absent ? " is-stale" : "";
  return (
    <div class={`page${faded}`}>
      <a class="skip" href="#pools">
        Skip to the pools
      </a>
      <Header />
      <StateBar />
      <main>
        <Lead />
        <Done />
        <Pools />
        <div class="work">
          <Charts />
          <Decisions />
        </div>
        <Flamegraph />
        <Profiles />
      </main>
      <footer class="foot">
        <span>
          <a href="/plain">Plain page</a>, <a href="/metrics">metrics</a>,{" "}
          <a href="/readyz?verbose">checks</a>
        </span>
        <span>Times are local.</span>
        <span>
          <kbd>d</kbd> next decision, <kbd>f</kbd> freeze, <kbd>/</kbd> find, <kbd>←</kbd> <kbd>→</kbd>{" "}
          cursor, with <kbd>Shift</kbd> the chosen time, <kbd>Esc</kbd> show all, <kbd>t</kbd> theme
        </span>
      </footer>
      <HandDialog />
      <HandsOfPool />
    </div>
  );
}

function Header() {
  const { status, hosts, host } = useStore();
  const about = [
    status?.app ? `${status.app} ${status.version}`.trim() : "",
    status?.pid ? `pid ${status.pid}` : "",
    status?.uptime_ms ? `up ${format.span(status.uptime_ms / 1000)}` : "",
  ];
  return (
    <header class="bar">
      <div class="bar-in">
        <div class="brand">
          <Logo />
          <span class="brand-name">Trimtab</span>
        </div>
        <div class="host">
          <h1>{status?.host ?? host ?? "no host"}</h1>
          <span class="host-meta">{about.filter(Boolean).join(" · ")}</span>
          {hosts.length > 1
            ? hosts
                .filter((name) => name !== host)
                .map((name) => <a href={`/?host=${encodeURIComponent(name)}`}>{name}</a>)
            : null}
        </div>
        <nav class="nav" aria-label="Sections">
          <a href="#pools">Pools</a>
          <a href="#charts">Charts</a>
          <a href="#decisions">Decisions</a>
          <a href="#flame">Flamegraph</a>
          <a href="#profiles">Profiles</a>
        </nav>
        <div class="hands">
          <button
            type="button"
            class="btn quiet icon"
            aria-label="Switch between light and dark"
            onClick={switchTheme}
          >
            <svg viewBox="0 0 16 16" width="16" height="16" aria-hidden="true">
              <circle cx="8" cy="8" r="5.6" fill="none" stroke="currentColor" stroke-width="1.4" />
              <path d="M8 2.4a5.6 5.6 0 0 1 0 11.2z" fill="currentColor" />
            </svg>
          </button>
          <button
            type="button"
            class="btn"
            id="freeze"
            onClick={() => store.set({ deed: status?.frozen ? deeds.lift() : deeds.freeze() })}
          >
            <svg viewBox="0 0 16 16" width="14" height="14" aria-hidden="true">
              <path
                d={status?.frozen ? "M5 3.5v9l7-4.5z" : "M4.5 3.5v9M11.5 3.5v9"}
                fill={status?.frozen ? "currentColor" : "none"}
                stroke="currentColor"
                stroke-width={status?.frozen ? "0" : "2.6"}
              />
            </svg>
            {status?.frozen ? "Lift the freeze" : "Freeze"}
          </button>
        </div>
      </div>
    </header>
  );
}

function Logo() {
  return (
    <svg viewBox="0 0 22 22" width="22" height="22" aria-hidden="true">
      <path
        class="logo-a"
        d="M3.5 2h8a1.5 1.5 0 0 1 1.5 1.5v15a1.5 1.5 0 0 1-1.5 1.5H7.2a1.5 1.5 0 0 1-1.45-1.1L2.05 3.9A1.5 1.5 0 0 1 3.5 2z"
      />
      <path class="logo-b" d="M15 9.2l5.4 2.9v6.6L15 15.8z" />
    </svg>
  );
}

function switchTheme(): void {
  const root = document.documentElement;
  const dark = matchMedia("(prefers-color-scheme: dark)").matches;
  const now = root.dataset.theme ?? (dark ? "dark" : "light");
  root.dataset.theme = now === "dark" ? "light" : "dark";
  try {
    localStorage.setItem(THEME_KEY, root.dataset.theme);
  } catch {
    // Storage may be forbidden; then the choice lasts as long as the page.
  }
  store.changed();
}

function pressed(event: KeyboardEvent): void {
  const target = event.target as HTMLElement;
  if (event.ctrlKey || event.metaKey || event.altKey || /^(input|select|textarea)$/i.test(target.tagName))
    return;
  if (store.deed || store.hands) return;
  if (event.key === "/") {
    event.preventDefault();
    document.querySelector<HTMLInputElement>(".find")?.focus();
  }
  if (event.key === "t") switchTheme();
  if (event.key === "f") store.set({ deed: store.status?.frozen ? deeds.lift() : deeds.freeze() });
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (step !== undefined && !target.closest("[role=radiogroup]")) {
    if (event.shiftKey) store.pan(step * 0.1);
    else moveCursor(step);
  }
  if (event.key === "Escape") dropCursor();
  if (event.key === "Escape") store.set({ range: { ...store.range, zoom: undefined } });
  if (event.key === "d") nextDecision();
}

function nextDecision(): void {
  const changes = store.ledger.newest();
  const at = changes.findIndex((change) => change.key === store.openChange);
  const next = changes[(at + 1) % Math.max(changes.length, 1)];
  if (next) store.set({ openChange: next.key });
}

function restoreTheme(): void {
  try {
    const kept = localStorage.getItem(THEME_KEY);
    if (kept === "dark" || kept === "light") document.documentElement.dataset.theme = kept;
  } catch {
    // As above.
  }
}

restoreTheme();
const place = document.getElementById("app");
if (place) {
  place.textContent = "";
  render(<Page />, place);
  store.start();
  document.addEventListener("keydown", pressed);
  document.title = `Trimtab · ${format.timeShort(Date.now())}`;
  store.subscribe(() => {
    document.title = `${store.status?.host ?? "no host"} · Trimtab`;
  });
}
