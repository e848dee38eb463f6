// The page as a whole, and its keys.

import { render } from "preact";
import "uplot/dist/uPlot.min.css";
import "./style.css";
import { Charts } from "./charts.tsx";
import { Checks } from "./checks.tsx";
import { Decisions } from "./decisions.tsx";
import * as deeds from "./deeds.ts";
import { Done, HandDialog } from "./dialog.tsx";
import { Flamegraph } from "./flame.tsx";
import * as format from "./format.ts";
import { Help } from "./help.tsx";
import { pressed } from "./keys.ts";
import { Lead } from "./lead.tsx";
import { HandsOfPool, Pools } from "./pools.tsx";
import { Profiles } from "./profiles.tsx";
import { StateBar } from "./states.tsx";
import { store, useStore } from "./store.ts";
import { restoreTheme, switchTheme } from "./theme.ts";

function Page() {
  const { status, link, sidecarVersion } = useStore();
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
          <button type="button" class="lnk" onClick={() => store.set({ checks: true })}>
            checks
          </button>
        </span>
        {sidecarVersion ? <span>Trimtab {sidecarVersion}</span> : null}
        <span>Times are local, {format.utcOffset()}.</span>
        <button type="button" class="lnk" onClick={() => store.set({ help: true })}>
          Keys, signs and words
        </button>
      </footer>
      <HandDialog />
      <HandsOfPool />
      <Checks />
      <Help />
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
            aria-label="Help: keys, signs and words"
            aria-keyshortcuts="?"
            onClick={() => store.set({ help: true })}
          >
            <span aria-hidden="true">?</span>
          </button>
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
