import { expect, it } from "vitest";
import { SendQueue } from "../src/send-queue.js";

const subscribe = (n: number) => ({ type: "subscribe" as const, topics: [`order:${n}`] });

it("flushes in order, and resolves each message to the result of its send", async () => {
  const queue = new SendQueue(3);
  const results = [1, 2, 3].map((n) => queue.add(subscribe(n)));
  const sent: unknown[] = [];
  queue.flush((message) => {
    sent.push(message);
    return sent.length !== 2;
  });
  expect(sent).toEqual([subscribe(1), subscribe(2), subscribe(3)]);
  expect(await Promise.all(results)).toEqual([true, false, true]);
});

it("refuses a message beyond its limit, and takes new ones after a flush", async () => {
  const queue = new SendQueue(1);
  const first = queue.add(subscribe(1));
  expect(await queue.add(subscribe(2))).toBe(false);
  queue.flush(() => true);
  expect(await first).toBe(true);
  const third = queue.add(subscribe(3));
  queue.flush(() => Promise.resolve(true));
  expect(await third).toBe(true);
});

it("leaves a message in the queue that is added during a flush", () => {
  const queue = new SendQueue(3);
  const sent: unknown[] = [];
  const send = (message: unknown): boolean => {
    sent.push(message);
    if (sent.length === 1) void queue.add(subscribe(2));
    return true;
  };
  void queue.add(subscribe(1));
  queue.flush(send);
  expect(sent).toEqual([subscribe(1)]);
  queue.flush(send);
  expect(sent).toEqual([subscribe(1), subscribe(2)]);
});
