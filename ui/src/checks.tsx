// What the sidecar checks of itself, as a list: which passes, which fails, and what was found.

import { useEffect, useRef } from "preact/hooks";
import * as format from "./format.ts";
import { store, useStore } from "./store.ts";

export function Checks() {
  const { checks } = useStore();
  return checks ? <Opened /> : null;
}

function Opened() {
  const { readiness } = useStore();
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
    void store.refresh();
  }, []);
  const all = Object.entries(readiness?.checks ?? {});
  const failed = all.filter(([, { ok }]) => !ok);
  return (
    <dialog class="dlg" ref={dialog} aria-labelledby="checks-t" onClose={() => store.set({ checks: false })}>
      <h3 id="checks-t">Checks</h3>
      <p>{summary(all.length, failed.length)}</p>
      <dl class="checks">
        {/* What fails is read first. */}
        {[...failed, ...all.filter(([, { ok }]) => ok)].map(([name, { ok, text }]) => (
          <div key={name}>
            <dt>
              <span class={ok ? "dot" : "dot warn"} />
              {name} <b class={ok ? "o-kept" : "o-wait"}>{ok ? "passes" : "fails"}</b>
            </dt>
            <dd>{format.period(text)}</dd>
          </div>
        ))}
      </dl>
      <div class="row">
        <button type="button" class="btn" onClick={() => void store.refresh()}>
          Check again
        </button>
        <button type="button" class="btn main" onClick={() => dialog.current?.close()}>
          Close
        </button>
      </div>
    </dialog>
  );
}

function summary(all: number, failed: number): string {
  if (all === 0) return "The sidecar does not answer, so nothing is known of its checks.";
  if (failed === 0) return "Every check passes.";
  return `${failed} of ${all} checks ${failed === 1 ? "fails" : "fail"}.`;
}
