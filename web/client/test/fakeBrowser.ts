import { vi } from "vitest";

interface Request {
  run: () => unknown;
  resolve: (value: unknown) => void;
  reject: (error: unknown) => void;
}

class Lock {
  #holder: Request | undefined;
  #queue: Request[] = [];

  request({ steal, signal }: LockOptions, run: () => unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const request = { run, resolve, reject };
      signal?.addEventListener("abort", () => {
        if (!this.#queue.includes(request)) return;
        this.#queue = this.#queue.filter((other) => other !== request);
        reject(new DOMException("aborted", "AbortError"));
      });
      if (steal) {
        this.#queue.unshift(request);
        this.#holder?.reject(new DOMException("stolen", "AbortError"));
        this.pass();
      } else {
        this.#queue.push(request);
        if (!this.#holder) this.pass();
      }
    });
  }

  /** To whoever is next. */
  pass(): void {
    const next = (this.#holder = this.#queue.shift());
    if (!next) return;
    setImmediate(() => {
      void Promise.resolve(next.run()).then((value) => {
        next.resolve(value);
        if (this.#holder === next) this.pass();
      });
    });
  }
}

interface Channel {
  name: string;
  closed: boolean;
  /** While its tab is frozen: what it will have to do then. */
  held: (() => void)[] | undefined;
  onmessage: ((event: { data: unknown }) => void) | null;
}

function whenRunning(channel: Channel, run: () => void): void {
  if (channel.held) channel.held.push(run);
  else if (!channel.closed) run();
}

/** What the tabs of one browser have in common: channels and locks. Tabs are numbered as they join. */
export class FakeBrowser {
  readonly #channels: Channel[] = [];
  readonly #locks = new Map<string, Lock>();

  install(): void {
    const channels = this.#channels;
    vi.stubGlobal(
      "BroadcastChannel",
      class implements Channel {
        onmessage: ((event: { data: unknown }) => void) | null = null;
        closed = false;
        held: (() => void)[] | undefined;

        constructor(readonly name: string) {
          channels.push(this);
        }

        postMessage(data: unknown): void {
          const others = channels.filter((other) => other !== this && other.name === this.name);
          whenRunning(this, () => {
            for (const other of others) {
              const copy: unknown = structuredClone(data);
              setImmediate(() => whenRunning(other, () => other.onmessage?.({ data: copy })));
            }
          });
        }

        close(): void {
          this.closed = true;
        }
      },
    );
    Object.defineProperty(navigator, "locks", {
      configurable: true,
      value: { request: (name: string, how: LockOptions, run: () => unknown) => this.#lock(name).request(how, run) },
    });
  }

  uninstall(): void {
    Reflect.deleteProperty(navigator, "locks");
  }

  /** The tab is gone without a word, and the browser gives its lock away. */
  crash(tab: number): void {
    const channel = this.#channels[tab]!;
    channel.closed = true;
    channel.held = undefined;
    this.#lock(channel.name).pass();
  }

  /** The tab does not run for a while, and keeps what it has. */
  freeze(tab: number): void {
    this.#channels[tab]!.held = [];
  }

  thaw(tab: number): void {
    const channel = this.#channels[tab]!;
    const { held = [] } = channel;
    channel.held = undefined;
    for (const run of held) run();
  }

  #lock(name: string): Lock {
    let lock = this.#locks.get(name);
    if (!lock) this.#locks.set(name, (lock = new Lock()));
    return lock;
  }
}
