// The help: the keys, the signs and the words of the page, for those who see it for the first time.

import { useEffect, useRef } from "preact/hooks";
import * as format from "./format.ts";
import { Glyph } from "./glyph.tsx";
import { letters, SHORTCUTS, setLetters } from "./keys.ts";
import { store, useStore } from "./store.ts";

const SIGNS = [
  ["kept", "kept", "it paid, and stays"],
  ["trial", "on trial", "it is being measured; the host undoes it by itself if nobody keeps it"],
  ["rolled back", "rolled back", "it did not pay, and the old value is back; the proof did its work"],
  [
    "advised",
    "waits, or was not done",
    "it waits for a person, the mode lets nothing be changed, or the host refused it",
  ],
  ["operator", "operator", "a person did it: a freeze, a pin, a reset, another profile"],
] as const;

const WORDS = [
  ["goodput", "work a second that ended well, within the time that the profile allows"],
  ["trial", "a change for a limited time, after which it is kept or rolled back"],
  ["kept", "it paid: more goodput, or the same with a shorter tail, beyond the measurement's error"],
  ["held", "looked at, and left as it was; the reason is counted"],
  ["frozen", "an operator's stop: nothing is changed until it is lifted"],
  ["pinned", "one value that an operator holds for a time"],
  ["baseline", "the values that the host was started with"],
  ["lease", "the right to change the host; one sidecar at a time has it, and it runs out by itself"],
  ["level", "how large a step may be, by the pool's load"],
] as const;

const REGIMES: Record<string, string> = {
  ample: "work flows, and nothing waits",
  idle: "there is little to do",
  starved: "work waits for a worker",
  cpu_bound: "work waits, and the CPU's quota is used up",
  downstream_bound: "work waits for what is behind the pool; more workers did not help",
  memory_risk: "memory is about to run out",
  stuck: "there is work, and none of it ends",
  blind: "the figures that would tell are missing",
};

export function Help() {
  const { help } = useStore();
  return help ? <Opened /> : null;
}

function Opened() {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const close = () => dialog.current?.close();
  return (
    <dialog
      class="dlg help"
      ref={dialog}
      aria-labelledby="help-t"
      onClose={() => store.set({ help: false })}
      onKeyDown={(event) => {
        if (event.key !== "?") return;
        event.preventDefault();
        close();
      }}
    >
      <div class="row">
        <h3 id="help-t">Keys, signs and words</h3>
        <button type="button" class="btn" onClick={close}>
          Close
        </button>
      </div>
      <div class="help-in">
        <section>
          <h4>Keys</h4>
          <dl class="help-keys">
            {SHORTCUTS.map(({ shown, does }) => (
              <div key={does}>
                <dt>
                  {shown.map((key) => (
                    <kbd key={key}>{key}</kbd>
                  ))}
                </dt>
                <dd>{does}</dd>
              </div>
            ))}
          </dl>
          <label class="help-letters">
            <input
              type="checkbox"
              checked={letters()}
              onChange={(event) => setLetters(event.currentTarget.checked)}
            />
            Single letters and signs do this
          </label>
          <h4>Signs</h4>
          <dl class="help-signs">
            {SIGNS.map(([fate, name, means]) => (
              <div key={fate}>
                <dt>
                  <Glyph fate={fate} /> {name}
                </dt>
                <dd>{means}</dd>
              </div>
            ))}
            <div>
              <dt>
                <Hatched /> hatched
              </dt>
              <dd>no reading; a dash is the same in numbers, and neither is zero</dd>
            </div>
          </dl>
        </section>
        <section>
          <h4>Words</h4>
          <Meanings all={WORDS} />
          <h4>What limits a pool</h4>
          <Meanings
            all={Object.entries(REGIMES).map(([kind, means]) => [format.words(kind), means] as const)}
          />
        </section>
      </div>
    </dialog>
  );
}

function Meanings({ all }: { all: readonly (readonly [string, string])[] }) {
  return (
    <dl>
      {all.map(([word, means]) => (
        <div key={word}>
          <dt>{word}</dt>
          <dd>{means}</dd>
        </div>
      ))}
    </dl>
  );
}

/** As the charts draw a time without a reading. */
function Hatched() {
  return (
    <svg viewBox="0 0 10 10" width="9" height="9" aria-hidden="true">
      <path d="M0 4 4 0M0 10 10 0M6 10l4-4" stroke="var(--edge)" stroke-width="1.2" />
    </svg>
  );
}
