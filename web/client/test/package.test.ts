// @vitest-environment node
import { execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { afterAll, beforeAll, expect, it } from "vitest";

const here = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
const manifest = JSON.parse(readFileSync(here("package.json"), "utf-8")) as {
  dependencies?: unknown;
  exports: Record<string, { default: string; types: string }>;
};
// A project with the package installed.
const project = mkdtempSync(join(tmpdir(), "orderwire-"));
const installed = join(project, "node_modules/@orderwire/client");
const dist = join(installed, "dist");

function tsc(...words: string[]): string {
  try {
    return execFileSync(here("../node_modules/.bin/tsc"), words, { encoding: "utf-8" });
  } catch (error) {
    return (error as { stdout: string }).stdout;
  }
}

beforeAll(async () => {
  await build({ configFile: here("vite.config.ts"), logLevel: "silent", build: { outDir: dist } });
  expect(tsc("-p", here("tsconfig.build.json"), "--outDir", dist)).toBe("");
  copyFileSync(here("package.json"), join(installed, "package.json"));
}, 60_000);
afterAll(() => rmSync(project, { recursive: true }));

const code = (name: string): string => readFileSync(join(dist, name), "utf-8");
const imports = (name: string): string[] => [...code(name).matchAll(/\bfrom\s*"([^"]+)"/g)].map((match) => match[1]!);
const kilobytes = (name: string): number => gzipSync(code(name), { level: 9 }).length / 1_000;

it("contains the files of the manifest", () => {
  const entries = Object.values(manifest.exports);
  const scripts = readdirSync(dist).filter((name) => name.endsWith(".js"));
  expect(scripts.sort()).toEqual(entries.map((entry) => entry.default.replace("./dist/", "")).sort());
  for (const { types } of entries) expect(readFileSync(join(installed, types), "utf-8")).not.toBe("");
});

it("has no dependencies, except the hook: React and the client", () => {
  expect(manifest.dependencies).toBeUndefined();
  expect(imports("orderwire.js")).toEqual([]);
  expect(imports("react.js").sort()).toEqual(["./orderwire.js", "react"]);
  expect(code("react.js")).toMatch(/^"use client";/);
});

it("is smaller than 6 kB, and as small as the README states", () => {
  expect(kilobytes("orderwire.js")).toBeLessThan(6);
  const [client, hook] = [...readFileSync(here("README.md"), "utf-8").matchAll(/\| (\d\.\d) kB \|/g)].map((match) => Number(match[1]));
  for (const [size, stated] of [[kilobytes("orderwire.js"), client!], [kilobytes("react.js"), hook!]] as const) {
    expect(size).toBeLessThanOrEqual(stated);
    expect(size).toBeGreaterThan(stated - 0.2);
  }
});

it.each(["nodenext", "bundler"])("has types for a project that resolves modules by %s", (resolution) => {
  mkdirSync(join(project, "node_modules/@types"), { recursive: true });
  writeFileSync(join(project, "package.json"), '{"type":"module"}');
  writeFileSync(
    join(project, "shop.ts"),
    `import { wsService, type ServerMessage } from "@orderwire/client";
     const off: () => void = wsService.onMessage((message: ServerMessage) => {
       if (message.type === "new_order") { const total: string | null = message.total; console.log(total); }
       // @ts-expect-error: only events of orders have a total
       else console.log(message.total.length);
     });
     const sent: Promise<boolean> = wsService.send({ type: "subscribe", topics: ["order:5"] });
     // @ts-expect-error: there is no such message
     void wsService.send({ type: "shout" });
     void sent.then(off);`,
  );
  const module = resolution === "nodenext" ? "nodenext" : "esnext";
  const found = tsc(join(project, "shop.ts"), "--noEmit", "--strict", "--module", module, "--moduleResolution", resolution, "--target", "es2022", "--ignoreConfig");
  expect(found).toBe("");
});
