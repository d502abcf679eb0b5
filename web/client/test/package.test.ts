// @vitest-environment node
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const here = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
interface Entry {
  types: string;
  default: string;
}
const manifest = JSON.parse(readFileSync(here("package.json"), "utf-8")) as {
  version: string;
  license: string;
  dependencies?: unknown;
  exports: Record<string, (Entry & { require: Entry }) | string>;
};
const entries = Object.values(manifest.exports).filter((entry) => typeof entry !== "string");
const MODULES = ["orderwire", "react", "store"];

const temporary = mkdtempSync(join(tmpdir(), "orderwire-"));
/** The package as it is before it is packed. */
const source = join(temporary, "source");
/** A project with the package installed from its tarball. */
const project = join(temporary, "project");
const installed = join(project, "node_modules/@orderwire/client");
const dist = join(installed, "dist");

function run(command: string, ...words: string[]): string {
  const { stdout, stderr } = spawnSync(command, words, { cwd: project, encoding: "utf-8" });
  return stdout + stderr;
}
const tsc = (...words: string[]): string => run(here("../node_modules/.bin/tsc"), ...words);
const node = (...words: string[]): string => run(process.execPath, ...words);

beforeAll(async () => {
  mkdirSync(project, { recursive: true });
  const built = join(source, "dist");
  await build({ configFile: here("vite.config.ts"), logLevel: "silent", build: { outDir: built } });
  for (const directory of [built, join(built, "cjs")]) expect(tsc("-p", here("tsconfig.build.json"), "--outDir", directory)).toBe("");
  for (const name of ["package.json", "README.md"]) copyFileSync(here(name), join(source, name));
  cpSync(here("src"), join(source, "src"), { recursive: true });
  const tarball = execFileSync("npm", ["pack", "--silent", "--pack-destination", temporary], { cwd: source, encoding: "utf-8" }).trim();
  mkdirSync(installed, { recursive: true });
  execFileSync("tar", ["-xzf", join(temporary, tarball), "-C", installed, "--strip-components=1"]);
  // The module is CommonJS or ES by the name of its file.
  writeFileSync(join(project, "package.json"), "{}");
}, 60_000);
afterAll(() => rmSync(temporary, { recursive: true }));

const code = (name: string): string => readFileSync(join(dist, name), "utf-8");
const imports = (name: string): string[] => [...code(name).matchAll(/\bfrom\s*"([^"]+)"/g)].map((match) => match[1]!);
const kilobytes = (name: string): number => gzipSync(code(name).replace(/\n\/\/# sourceMappingURL=.*/, ""), { level: 9 }).length / 1_000;

describe("the files", () => {
  it("are those of the manifest", () => {
    const scripts = readdirSync(dist).filter((name) => name.endsWith(".js"));
    expect(scripts.sort()).toEqual(entries.map((entry) => entry.default.replace("./dist/", "")).sort());
    for (const entry of entries)
      for (const name of [entry.types, entry.default, entry.require.types, entry.require.default]) expect(existsSync(join(installed, name)), name).toBe(true);
  });

  it("are sources, scripts, types, maps and the README, and nothing else", () => {
    const names = readdirSync(installed, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile()).map(({ name }) => name);
    const other = names.filter((name) => !/\.(js|d\.ts)(\.map)?$|^[a-z-]+\.ts$/.test(name));
    expect(other.sort()).toEqual(["README.md", "package.json", "package.json"]);
  });

  it("name their maps", () => {
    for (const name of MODULES) expect(code(`${name}.js`)).toContain(`//# sourceMappingURL=${name}.js.map`);
    for (const name of MODULES) expect(code(`${name}.d.ts`)).toContain(`//# sourceMappingURL=${name}.d.ts.map`);
  });
});

it("has no dependencies, except the hook: React and the client", () => {
  expect(manifest.dependencies).toBeUndefined();
  expect(imports("orderwire.js")).toEqual([]);
  expect(imports("store.js")).toEqual(["./orderwire.js"]);
  expect(imports("react.js").sort()).toEqual(["./orderwire.js", "./store.js", "react"]);
  expect(code("react.js")).toMatch(/^"use client";/);
});

it("is smaller than 6 kB, and as small as the README states", () => {
  expect(kilobytes("orderwire.js")).toBeLessThan(6);
  const stated = [...readFileSync(here("README.md"), "utf-8").matchAll(/\| `@orderwire\/client(?:\/(\w+))?` \| (\d\.\d) kB \|/g)];
  expect(stated.map(([, name = "orderwire"]) => name).sort()).toEqual(MODULES);
  for (const [, name = "orderwire", size] of stated) {
    expect(kilobytes(`${name}.js`), name).toBeLessThanOrEqual(Number(size));
    expect(kilobytes(`${name}.js`), name).toBeGreaterThan(Number(size) - 0.2);
  }
});

it("has the version of the server, and the licence of the repository", () => {
  expect(readFileSync(here("../../service/application.py"), "utf-8")).toContain(`__version__ = "${manifest.version}"`);
  const licensed = readdirSync(here("../..")).some((name) => /^licen[cs]e/i.test(name));
  expect(manifest.license !== "UNLICENSED").toBe(licensed);
});

describe.each([
  ["nodenext", "mts"],
  ["nodenext", "cts"],
  ["node16", "cts"],
  ["bundler", "ts"],
])("a project that resolves modules by %s, in a file .%s,", (resolution, suffix) => {
  const check = (source: string): string => {
    writeFileSync(join(project, `shop.${suffix}`), source);
    const module = resolution === "bundler" ? "esnext" : resolution;
    const options = ["--noEmit", "--strict", "--module", module, "--moduleResolution", resolution, "--target", "es2022", "--lib", "es2023,dom", "--ignoreConfig"];
    return tsc(`shop.${suffix}`, ...options);
  };

  it("has types of all modules", () => {
    expect(
      check(
        `import { wsService, type ServerMessage } from "@orderwire/client";
         import { createStore, type OrderStore } from "@orderwire/client/store";
         import { useWebSocket } from "@orderwire/client/react";
         const off: () => void = wsService.onMessage((message: ServerMessage, count: number) => {
           if (message.type === "new_order") { const total: string | null = message.total; console.log(total, count); }
           // @ts-expect-error: only events of orders have a total
           else console.log(message.total.length);
         });
         const sent: Promise<boolean> = wsService.send({ type: "subscribe", topics: ["order:5"] });
         // @ts-expect-error: there is no such message
         void wsService.send({ type: "shout" });
         void sent.then(off);
         const store: OrderStore = createStore(wsService);
         // @ts-expect-error: there may be no totals yet
         console.log(store.getSnapshot().stats.totalOrders, useWebSocket(wsService).stats?.totalOrders);`,
      ),
    ).toBe("");
  });
});

describe("require()", () => {
  const script = 'const { WebSocketService, wsService } = require("@orderwire/client"); const { createStore } = require("@orderwire/client/store");';

  it("has the same instances as import", () => {
    const same = `${script} import("@orderwire/client").then((client) => console.log(client.wsService === wsService, typeof createStore(wsService).subscribe));`;
    expect(node("-e", same)).toBe("true function\n");
  });

  it.runIf(process.allowedNodeEnvironmentFlags.has("--experimental-require-module"))("says what to do where Node cannot require ES modules", () => {
    expect(node("--no-experimental-require-module", "-e", script)).toContain(
      "Error: @orderwire/client is an ES module: require() takes it from Node 20.19 and 22.12 on, import() before that",
    );
  });
});

describe("in Node", () => {
  const connect = (options: string): string =>
    node("--input-type=module", "-e", `import { WebSocketService } from "@orderwire/client"; new WebSocketService(${options}).connect();`);

  it("says that it needs an absolute url", () => {
    expect(connect("")).toContain('TypeError: option url is "/api/ws": outside of a web page it must be absolute, with https: or wss:');
  });

  it.runIf(globalThis.WebSocket === undefined)("says that it needs a WebSocket, before Node 22", () => {
    expect(connect('{ url: "ws://127.0.0.1:9/api/ws" }')).toContain("TypeError: there is no WebSocket here, as in Node before version 22");
  });
});
