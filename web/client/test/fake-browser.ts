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
        this.grantNext();
      } else {
        this.#queue.push(request);
        if (!this.#holder) this.grantNext();
      }
    });
  }

  /** Grants the lock to the next request. */
  grantNext(): void {
    const next = (this.#holder = this.#queue.shift());
    if (!next) return;
    setImmediate(() => {
      void Promise.resolve(next.run()).then((value) => {
        next.resolve(value);
        if (this.#holder === next) this.grantNext();
      });
    });
  }
}

interface Channel {
  name: string;
  closed: boolean;
  /** Defined while the tab is frozen: what it runs when it is thawed. */
  suspended: (() => void)[] | undefined;
  onmessage: ((event: { data: unknown }) => void) | null;
}

function whenRunning(channel: Channel, run: () => void): void {
  if (channel.suspended) channel.suspended.push(run);
  else if (!channel.closed) run();
}

/** The channels and locks that the tabs of a browser share. Tabs are numbered in the order in which they open a channel. */
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
        suspended: (() => void)[] | undefined;

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

  /** The tab ends without running any code, and the browser releases its lock. */
  crash(tab: number): void {
    const channel = this.#channels[tab]!;
    channel.closed = true;
    channel.suspended = undefined;
    this.#lock(channel.name).grantNext();
  }

  /** The tab stops running code, and keeps its lock. */
  freeze(tab: number): void {
    this.#channels[tab]!.suspended = [];
  }

  thaw(tab: number): void {
    const channel = this.#channels[tab]!;
    const { suspended = [] } = channel;
    channel.suspended = undefined;
    for (const run of suspended) run();
  }

  #lock(name: string): Lock {
    let lock = this.#locks.get(name);
    if (!lock) this.#locks.set(name, (lock = new Lock()));
    return lock;
  }
}
