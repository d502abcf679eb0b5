interface FakeRequest {
  result: unknown;
  onsuccess?: () => void;
}

interface FakeTransaction {
  objectStore: () => { get: (key: string) => FakeRequest; put: (value: unknown, key: string) => void };
  oncomplete?: () => void;
}

/** As much of IndexedDB as src/tabs.ts uses: a database with one store, and transactions that read once. */
export function fakeIndexedDb(): { open: () => FakeRequest } {
  const values = new Map<string, unknown>();

  function transaction(): FakeTransaction {
    const running: FakeTransaction = { objectStore: () => ({ get, put: (value, key) => void values.set(key, value) }) };
    const get = (key: string): FakeRequest => {
      const reading: FakeRequest = { result: values.get(key) };
      queueMicrotask(() => {
        reading.onsuccess?.();
        queueMicrotask(() => running.oncomplete?.());
      });
      return reading;
    };
    return running;
  }

  return {
    open() {
      const opening: FakeRequest = { result: { transaction, close() {} } };
      queueMicrotask(() => opening.onsuccess?.());
      return opening;
    },
  };
}
