// The stream of events, one for all tabs of a browser: the tab that holds the lock reads it and passes everything on.
// A browser opens few connections to one address, so six tabs with a stream each would leave none for anything else.

const EVENTS = ["decision", "intent", "outcome", "reload", "command", "status", "resync"] as const;
export type EventName = (typeof EVENTS)[number];

export interface Listener {
  /** An event with its text. */
  event(name: EventName, data: string): void;
  /** The stream works. */
  open(): void;
  /** The stream broke; it is tried again in so many seconds. */
  lost(retrySeconds: number): void;
}

type Message =
  | { kind: "event"; name: EventName; data: string }
  | { kind: "open" }
  | { kind: "lost"; retry: number };

const RETRY_SECONDS = 2;
/** A stream that says nothing for this long is dead, for the sidecar sends a comment or a status far more often. */
const SILENCE_MS = 20_000;

export function listen(listener: Listener): { retry(): void } {
  const channel = "BroadcastChannel" in globalThis ? new BroadcastChannel("trimtab-events") : undefined;
  const tell = (message: Message) => {
    if (message.kind === "event") listener.event(message.name, message.data);
    else if (message.kind === "open") listener.open();
    else listener.lost(message.retry);
  };
  if (channel) channel.onmessage = (received: MessageEvent<Message>) => tell(received.data);
  const both = (message: Message) => {
    tell(message);
    channel?.postMessage(message);
  };
  let stream: Stream | undefined;
  const lead = () => {
    stream = new Stream(both);
    return new Promise<never>(() => {});
  };
  if (navigator.locks && channel) void navigator.locks.request("trimtab-events", lead);
  else void lead();
  return { retry: () => stream?.connect() };
}

class Stream {
  private source: EventSource | undefined;
  private timer = 0;
  private heard = Date.now();
  private lastId = "";

  constructor(private readonly tell: (message: Message) => void) {
    this.connect();
    setInterval(() => this.checkSilence(), 5000);
  }

  connect(): void {
    clearTimeout(this.timer);
    this.source?.close();
    const since = this.lastId ? `&since=${encodeURIComponent(this.lastId)}` : "";
    const source = new EventSource(`/api/v1/events?status=true${since}`);
    this.source = source;
    source.onopen = () => {
      this.heard = Date.now();
      this.tell({ kind: "open" });
    };
    source.onerror = () => this.fail();
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        this.heard = Date.now();
        if (event.lastEventId) this.lastId = event.lastEventId;
        this.tell({ kind: "event", name, data: String(event.data) });
      });
    }
  }

  private checkSilence(): void {
    if (this.source && Date.now() - this.heard > SILENCE_MS) this.fail();
  }

  private fail(): void {
    this.source?.close();
    this.source = undefined;
    this.tell({ kind: "lost", retry: RETRY_SECONDS });
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.connect(), RETRY_SECONDS * 1000);
  }
}
