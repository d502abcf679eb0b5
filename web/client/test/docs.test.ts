import { readFileSync } from "node:fs";
import { createElement } from "react";
import { act, cleanup, render, screen } from "@testing-library/react";
import { transformWithOxc } from "vite";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { WebSocketService } from "../src/orderwire.js";
import { FakeServer, order, settled } from "./fake-server.js";

const read = (name: string): string => readFileSync(`${import.meta.dirname}/../../../${name}`, "utf-8");
const blocks = (page: string, language: string): string[] =>
  [...read(page).matchAll(new RegExp(`\`\`\`${language}\\n(.*?)\`\`\``, "gs"))].map((match) => match[1]!);

let server: FakeServer;
/** What an example imports, by the name of the module. */
let modules: { [name: string]: object } & { "@orderwire/client": typeof import("../src/orderwire.js") };
let printed: string[];
const unload: (() => void)[] = [];

beforeEach(async () => {
  // Separate module instances, and so a separate wsService, for each test.
  vi.resetModules();
  modules = {
    "@orderwire/client": await import("../src/orderwire.js"),
    "@orderwire/client/react": await import("../src/react.js"),
    "@orderwire/client/store": await import("../src/store.js"),
  };
  server = new FakeServer();
  server.install();
  modules["ws"] = { WebSocket };
  printed = [];
  vi.stubGlobal("location", new URL("https://shop.example/"));
  vi.spyOn(console, "log").mockImplementation((...words) => void printed.push(words.join(" ")));
});
afterEach(() => {
  cleanup();
  modules["@orderwire/client"].wsService.disconnect();
  for (const run of unload.splice(0)) run();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** Runs an example like a module, and returns its variable of this name. */
async function run(example: string, name = "undefined"): Promise<unknown> {
  const body = example.replace(/import (\{.*?\}) from (".*?");.*/g, "const $1 = modules[$2];");
  const { code } = await transformWithOxc(`export default async (modules) => { ${body}; return ${name}; }`, "example.jsx", {
    jsx: { runtime: "classic", pragma: "createElement" },
  });
  const module = new Function("createElement", code.replace("export default", "return")) as (create: unknown) => (of: unknown) => Promise<unknown>;
  return module(createElement)(modules);
}

it("connects as docs/reference/client.md says", async () => {
  const service = (await run(blocks("docs/reference/client.md", "js")[0]!, "service")) as WebSocketService;
  unload.push(() => service.disconnect());
  await settled();
  expect(server.last.url.href).toBe("wss://shop.example/api/ws");
  server.publish(order(1));
  await settled();
  expect(printed).toEqual(["orders: 0", "new_order ORD-2024-1"]);
});

it("merges fetched orders with events", async () => {
  const row = { id: 1, key: "1", order_number: "ORD-2024-1", customer_name: "Иван Иванов", total: "150.50", status: "ready" };
  let answer!: (response: Response) => void;
  vi.stubGlobal("fetch", () => new Promise<Response>((resolve) => void (answer = resolve)));
  const { orders } = (await run(blocks("docs/reference/client.md", "js")[1]!, "{ orders }")) as { orders: Map<string, typeof row> };
  await settled();
  server.publish(order(1)); // already contained in the fetched row
  server.last.send({ ...order(1), type: "order_status_update", id: "epoch-9-50", status: "ready", previous_status: "pending" });
  server.publish(order(2));
  await settled();
  answer(Response.json({ orders: [row] }));
  await settled();
  server.last.send(order(1, { id: "epoch-8-40", status: "pending" })); // an older event, replayed
  server.last.send({ ...order(2), type: "order_delete", id: "epoch-9-51" });
  await settled();
  expect(printed).toEqual(["loaded 2"]);
  server.publish(order(3));
  await settled();
  const { id: _, ...rest } = row;
  expect(Object.fromEntries(orders)).toEqual({ 1: row, 3: { id: 3, ...rest, key: "3", order_number: "ORD-2024-3", status: "pending" } });
});

it("sends a message", async () => {
  modules["@orderwire/client"].wsService.connect();
  await run(blocks("docs/reference/client.md", "js")[2]!);
  expect(printed).toEqual(["on its way"]);
});

it("logs in", async () => {
  vi.stubGlobal("fetch", async (url: string) => new Response(`token of ${url}`));
  const service = (await run(blocks("docs/reference/client.md", "js")[3]!, "service")) as WebSocketService;
  unload.push(() => service.disconnect());
  await settled();
  expect(server.last.protocols).toEqual(["orderwire", "bearer.token of /my/token"]);
});

it.each([
  ["docs/reference/client.md", 4, ["0 ", "0 Иван Иванов"]],
  ["web/client/README.md", 1, ["0", "0"]],
])("follows a store as %s says", async (page, number, expected) => {
  const unsubscribe = (await run(blocks(page, "js")[number]!, "unsubscribe")) as () => void;
  await vi.waitFor(() => expect(printed.at(-1)).toBe(expected[0]));
  server.publish(order(1));
  await vi.waitFor(() => expect(printed).toEqual(expect.arrayContaining(expected)));
  await vi.waitFor(() => expect(printed.length).toBeGreaterThanOrEqual(2));
  unsubscribe();
});

it("connects on Node 20 as docs/reference/client.md says", async () => {
  vi.stubGlobal("location", undefined);
  vi.stubGlobal("WebSocket", undefined);
  const service = (await run(blocks("docs/reference/client.md", "js")[5]!, "service")) as WebSocketService;
  unload.push(() => service.disconnect());
  await settled();
  expect(server.last.url.href).toBe("wss://shop.example/api/ws");
  expect(printed).toEqual(["analytics_update"]);
});

it("conflates as docs/reference/client.md says", async () => {
  const service = (await run(blocks("docs/reference/client.md", "js")[6]!, "service")) as WebSocketService;
  unload.push(() => service.disconnect());
  await settled();
  server.publish(order(1));
  server.last.send({ ...order(1), type: "order_status_update", id: "epoch-9-50", status: "ready", previous_status: "pending" });
  await vi.waitFor(() => expect(printed).toEqual(["analytics_update 1", "new_order 2"]), 5_000);
});

it.each([
  ["docs/reference/client.md", "online: 0 orders, Иван Иванов"],
  ["web/client/README.md", "🟢 0 orders, 0; the latest: ORD-2024-1"],
])("shows a component as %s says", async (page, text) => {
  const Totals = (await run(blocks(page, "jsx")[0]!, "Totals")) as () => null;
  render(createElement(Totals));
  await act(settled);
  server.publish(order(1));
  await act(async () => {
    await vi.waitFor(() => expect(screen.getByText(text)).toBeTruthy());
  });
});

it("prints orders as web/client/README.md says", async () => {
  await run(blocks("web/client/README.md", "js")[0]!);
  await settled();
  server.publish(order(1));
  await settled();
  expect(printed).toEqual(["ORD-2024-1 Иван Иванов 150.50"]);
});

it("documents exactly the existing options in docs/reference/client.md", () => {
  const table = read("docs/reference/client.md").split("## Options")[1]!;
  const listed = [...table.matchAll(/^\| (`.*?`(?:, `.*?`)*) \|/gm)].flatMap((match) => match[1]!.match(/\w+/g)!);
  const options = read("web/client/src/options.ts").match(/export interface Options \{(.*?)^\}/ms)![1]!;
  const known = [...options.matchAll(/^ {2}(\w+)\?/gm)].map((match) => match[1]!);
  expect(listed.sort()).toEqual(known.sort());
});
