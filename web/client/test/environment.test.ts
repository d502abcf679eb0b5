import { afterEach, expect, it, vi } from "vitest";
import { WebSocketService } from "../src/orderwire.js";
import { createStore } from "../src/store.js";
import { FakeServer, settled } from "./fake-server.js";

const url = "wss://shop.example/api/ws";
const withoutPage = (): void => void vi.stubGlobal("location", undefined);
const withoutWebSocket = (): void => void vi.stubGlobal("WebSocket", undefined);
afterEach(() => void vi.unstubAllGlobals());

it.each([
  ["no url, outside of a page", {}, withoutPage, 'option url is "/api/ws": outside of a web page it must be absolute'],
  ["a relative url, outside of a page", { url: "/events/ws" }, withoutPage, 'option url is "/events/ws": outside'],
  ["no url, on a page without an origin", {}, () => void vi.stubGlobal("location", { href: "about:srcdoc" }), 'option url is "/api/ws"'],
  ["no url, on a page of another scheme", {}, () => void vi.stubGlobal("location", new URL("capacitor://localhost/")), 'option url is "/api/ws"'],
  ["no WebSocket, as in Node 20", { url }, withoutWebSocket, "set option WebSocket to that of the package ws"],
])("says what is missing: %s", async (_, options, remove, message) => {
  remove();
  const service = new WebSocketService(options);
  expect(() => service.connect()).toThrow(message);
  await expect(service.send({ type: "ping" })).rejects.toThrow(message);
  expect(service.status).toEqual({ state: "idle" });
});

it("says so to the subscriber of a store, which may subscribe again", async () => {
  withoutPage();
  const service = new WebSocketService();
  const store = createStore(service);
  expect(() => store.subscribe(() => {})).toThrow("option url");
  const server = new FakeServer();
  server.install();
  service.configure({ url });
  const unsubscribe = store.subscribe(() => {});
  await settled();
  expect(server.live).toHaveLength(1);
  unsubscribe();
  service.disconnect();
});

it("uses the class of option WebSocket", async () => {
  const server = new FakeServer();
  server.install();
  const { WebSocket } = globalThis;
  withoutWebSocket();
  const service = new WebSocketService({ url, WebSocket });
  service.connect();
  await settled();
  expect(service.isConnected()).toBe(true);
  expect(await service.send({ type: "ping" })).toBe(true);
  service.disconnect();
});
