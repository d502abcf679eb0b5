// @vitest-environment node
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";
import { beforeAll, expect, it } from "vitest";

const config = fileURLToPath(new URL("../vite.config.ts", import.meta.url));
const manifest = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf-8")) as {
  dependencies?: unknown;
  exports: Record<string, { default: string }>;
};
const readme = readFileSync(new URL("../README.md", import.meta.url), "utf-8");
const built = new Map<string, string>();

beforeAll(async () => {
  const result = await build({ configFile: config, logLevel: "silent", build: { write: false } });
  for (const { output } of [result].flat() as { output: { fileName: string; code?: string }[] }[])
    for (const { fileName, code } of output) built.set(fileName, code ?? "");
});

const imports = (name: string): string[] => [...built.get(name)!.matchAll(/\bfrom\s*"([^"]+)"/g)].map((match) => match[1]!);
const zipped = (name: string): number => gzipSync(built.get(name)!, { level: 9 }).length;

it("is what the manifest says, and nothing else", () => {
  const entries = Object.values(manifest.exports).map((entry) => entry.default.replace("./dist/", ""));
  expect([...built.keys()].sort()).toEqual(entries.sort());
});

it("depends on nothing; the hook on React and the client", () => {
  expect(manifest.dependencies).toBeUndefined();
  expect(imports("orderwire.js")).toEqual([]);
  expect(imports("react.js").sort()).toEqual(["./orderwire.js", "react"]);
  expect(built.get("react.js")).toMatch(/^"use client";/);
});

it("is under 6 kB, and as small as the README says", () => {
  expect(zipped("orderwire.js")).toBeLessThan(6_000);
  const [client, hook] = [...readme.matchAll(/\| (\d\.\d) kB \|/g)].map((match) => Number(match[1]));
  expect(zipped("orderwire.js") / 1_000).toBeCloseTo(client!, 1);
  expect(zipped("react.js") / 1_000).toBeCloseTo(hook!, 1);
});
