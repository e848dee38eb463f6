// The dialog of a hand: first what it would do, by the newest reading and then by the sidecar's own word, and only then the
// button that does it.

import { useEffect, useRef, useState } from "preact/hooks";
import { asShell, give, hasToken, type Order, Refusal, takesCommands } from "./command.ts";
import type { Answers, Deed, Field } from "./deeds.ts";
import type { Expected } from "./expect.ts";
import * as format from "./format.ts";
import { store, useStore } from "./store.ts";
import type { Receipt } from "./wire.ts";

export function HandDialog() {
  const { deed } = useStore();
  return deed ? <Asked key={deed.title} deed={deed} /> : null;
}

/** How long nothing was typed before the sidecar is asked what that would do, in milliseconds. */
const PAUSE_MS = 400;

function Asked({ deed }: { deed: Deed }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [answers, setAnswers] = useState<Answers>(() =>
    Object.fromEntries(deed.fields.map((field) => [field.name, field.value])),
  );
  const [shown, setShown] = useState("");
  const [preview, setPreview] = useState<Receipt[] | undefined>();
  const [refusal, setRefusal] = useState<Refusal | undefined>();
  const [busy, setBusy] = useState(false);
  const [asksToken, setAsksToken] = useState(!hasToken());
  const commands = takesCommands(useStore());

  useEffect(() => {
    dialog.current?.showModal();
  }, []);
  const close = () => store.set({ deed: undefined });

  const send = async (dry: boolean) => {
    setBusy(true);
    try {
      const receipts = await all(deed.orders(answers), dry, asksToken ? shown : undefined);
      setRefusal(undefined);
      setAsksToken(false);
      if (dry) setPreview(receipts);
      else {
        // Closed, and not only taken away: then the focus goes back to where it was.
        dialog.current?.close();
        done(deed, receipts, answers);
      }
    } catch (error) {
      const refused = error instanceof Refusal ? error : new Refusal(0, String(error));
      setPreview(undefined);
      setRefusal(refused);
      if (refused.isAboutToken) setAsksToken(true);
    }
    setBusy(false);
  };
  // With a token at hand, each answer is followed by what it would do.
  const first = useRef(true);
  useEffect(() => {
    const pause = first.current ? 0 : PAUSE_MS;
    first.current = false;
    if (!hasToken()) return undefined;
    setPreview(undefined);
    const timer = setTimeout(() => void send(true), pause);
    return () => clearTimeout(timer);
  }, [answers]);

  return (
    <dialog class="dlg" ref={dialog} aria-labelledby="dlg-t" onClose={close}>
      <form
        onSubmit={(event) => {
          event.preventDefault();
          if (commands) void send(asksToken || preview === undefined);
        }}
      >
        <h3 id="dlg-t">{deed.title}</h3>
        <ul>
          {deed.does.map((line) => (
            <li key={line}>{line}</li>
          ))}
        </ul>
        {deed.fields.map((field) => (
          <Entry
            key={field.name}
            field={field}
            value={answers[field.name] ?? ""}
            set={(value) => setAnswers({ ...answers, [field.name]: value })}
          />
        ))}
        <div class="will" aria-live="polite">
          {preview ? <Preview receipts={preview} /> : <Expectation deed={deed} answers={answers} />}
          {refusal ? (
            <p class="refused" role="alert">
              {refusal.message}
            </p>
          ) : null}
        </div>
        {commands ? null : <Elsewhere orders={deed.orders(answers)} />}
        {commands && asksToken ? (
          <>
            <label for="dlg-token">
              Token, kept in this page's memory until it is closed or loaded again
            </label>
            <input
              id="dlg-token"
              type="password"
              autocomplete="off"
              spellcheck={false}
              value={shown}
              aria-invalid={refusal?.isAboutToken}
              onInput={(event) => setShown(event.currentTarget.value)}
            />
          </>
        ) : null}
        <div class="row">
          <span class="dim">Nothing has been changed yet.</span>
          <button class="btn" type="button" onClick={() => dialog.current?.close()}>
            {commands ? "Cancel" : "Close"}
          </button>
          {commands ? (
            <button class="btn main" type="submit" disabled={busy || (asksToken && shown === "")}>
              {asksToken || preview === undefined ? "Show what it would do" : deed.verb}
            </button>
          ) : null}
        </div>
      </form>
    </dialog>
  );
}

async function all(orders: Order[], dry: boolean, shown: string | undefined): Promise<Receipt[]> {
  const receipts: Receipt[] = [];
  for (const order of orders) receipts.push(await give(store.host ?? "", order, dry, shown));
  return receipts;
}

function done(deed: Deed, receipts: Receipt[], answers: Answers): void {
  const text = receipts.map((receipt) => format.period(receipt.text)).join(" ");
  const missing = receipts.flatMap((receipt) => (receipt.missing ? [format.period(receipt.missing)] : []));
  store.set({
    deed: undefined,
    done: { text, missing, at: Date.now(), undo: deed.undo(receipts, answers) },
  });
  void store.refresh();
}

function Preview({ receipts }: { receipts: Receipt[] }) {
  const values = receipts.flatMap((receipt) =>
    Object.entries(receipt.values ?? {}).flatMap(([pool, knobs]) =>
      Object.entries(knobs).map(([knob, { from, to }]) => ({ name: `${pool} ${knob}`, from, to })),
    ),
  );
  return (
    <div class="preview">
      <p>
        <b>What it would do now:</b> {receipts.map((receipt) => format.period(receipt.text)).join(" ")}
      </p>
      <Values values={values} />
      {receipts.map((receipt) =>
        receipt.missing ? <p key={receipt.missing}>{format.period(receipt.missing)}</p> : null,
      )}
    </div>
  );
}

/** What it would do by the newest reading: the dry run itself takes a token. */
function Expectation({ deed, answers }: { deed: Deed; answers: Answers }) {
  const page = useStore();
  const { text, values } = deed.expects(page, answers);
  return (
    <div class="expected">
      <p>
        <b>By the newest reading:</b> {text}
      </p>
      <Values values={values} />
    </div>
  );
}

function Values({ values }: { values: Expected["values"] }) {
  if (values.length === 0) return null;
  return (
    <table class="ev">
      <thead>
        <tr>
          <th scope="col">Value</th>
          <th scope="col">now</th>
          <th scope="col">then</th>
        </tr>
      </thead>
      <tbody>
        {values.map(({ name, from, to }) => (
          <tr key={name}>
            <td>{name}</td>
            <td>{from}</td>
            <td>{to}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** Where a page may not command: how the same is done now, and what to set so that a page may. */
function Elsewhere({ orders }: { orders: Order[] }) {
  const page = useStore();
  return (
    <div class="elsewhere">
      <p>
        This sidecar takes no commands from a page: its configuration names no <code>intake.token_file</code>.
        On the machine itself, this does the same now:
      </p>
      {orders.map((order) => (
        <Command key={JSON.stringify(order)} text={asShell(page, order)} />
      ))}
      <p class="dim">
        To do it here, write a token into a file that only the sidecar's user can read, set{" "}
        <code>intake.token_file</code> to its path, and start the sidecar again.
      </p>
    </div>
  );
}

/** A line for the shell, broken only where it has spaces. */
function Command({ text }: { text: string }) {
  const words = text.split(" ").map((word, at) => ({ word, at }));
  return (
    <pre>
      {words.map(({ word, at }) => (
        <>
          {at === 0 ? "" : " "}
          <span key={at}>{word}</span>
        </>
      ))}
    </pre>
  );
}

function Entry({ field, value, set }: { field: Field; value: string; set: (value: string) => void }) {
  const id = `dlg-${field.name}`;
  return (
    <>
      <label for={id}>{field.label}</label>
      {field.kind === "choice" ? (
        <select id={id} value={value} onChange={(event) => set(event.currentTarget.value)}>
          {field.options?.map(([name, key]) => (
            <option key={key} value={key}>
              {name}
            </option>
          ))}
        </select>
      ) : (
        <input
          id={id}
          type="text"
          inputMode={field.kind === "number" ? "numeric" : "text"}
          value={value}
          onInput={(event) => set(event.currentTarget.value)}
        />
      )}
    </>
  );
}

/** What was done last, with its undoing beside it. */
export function Done() {
  const { done: last } = useStore();
  if (!last) return null;
  const undo = last.undo;
  return (
    <div class="done" role="status">
      <p>
        <b>You:</b> {last.text} {last.missing.join(" ")}
      </p>
      <span class="row">
        {undo ? (
          <button type="button" class="lnk" onClick={() => store.set({ deed: undo })}>
            Undo…
          </button>
        ) : null}
        <button type="button" class="lnk" onClick={() => store.set({ done: undefined })}>
          Close
        </button>
      </span>
    </div>
  );
}
