// @vitest-environment node
import { spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, test } from "vitest";

const here = (name: string): string => fileURLToPath(new URL(`../${name}`, import.meta.url));
let project: string;

beforeEach(() => {
  project = mkdtempSync(join(tmpdir(), "orderwire-"));
  copyFileSync(here(".oxlintrc.json"), join(project, ".oxlintrc.json"));
});
afterEach(() => rmSync(project, { recursive: true }));

/** Lints a project of these files (name to source). Returns each error as "file: rule". */
function lint(files: Record<string, string>): string[] {
  for (const [name, source] of Object.entries(files)) {
    mkdirSync(dirname(join(project, name)), { recursive: true });
    writeFileSync(join(project, name), source);
  }
  const { stdout } = spawnSync(here("node_modules/.bin/oxlint"), ["--format=json"], { cwd: project, encoding: "utf-8" });
  const { diagnostics } = JSON.parse(stdout) as { diagnostics: { code: string; filename: string }[] };
  return diagnostics.map(({ code, filename }) => `${filename}: ${code}`).sort();
}

test("imports that point down are allowed", () => {
  const files = {
    "src/main.tsx": 'import "./ui/App.tsx";',
    "src/ui/App.tsx": 'import type { A } from "../state/a.ts"; import "react"; export type B = A;',
    "src/state/a.ts": 'import type { C } from "../api.ts"; export type A = C;',
    "src/api.ts": 'import type { OrderEvent } from "@orderwire/client"; export type C = OrderEvent;',
    "client/src/react.ts": 'import "react"; import "./store.js";',
    "client/src/store.ts": 'import "./orderwire.js";',
    "client/src/orderwire.ts": 'import "./service.js";',
    "client/src/service.ts": 'import "./connection.js";',
    "client/src/connection.ts": "export {};",
  };
  expect(lint(files)).toEqual([]);
});

test("cycles are errors, of values and of types", () => {
  const files = {
    "src/state/a.ts": 'import { b } from "./b.ts"; export const a = () => b;',
    "src/state/b.ts": 'import { a } from "./a.ts"; export const b = () => a;',
    "client/src/c.ts": 'import type { D } from "./d.js"; export type C = D[];',
    "client/src/d.ts": 'import type { C } from "./c.js"; export type D = C[];',
  };
  const expected = Object.keys(files).map((name) => `${name}: import(no-cycle)`);
  expect(lint(files)).toEqual(expected.sort());
});

test("imports that point up are errors", () => {
  const files = {
    "client/src/connection.ts": 'import "./service.js";',
    "client/src/react.ts": 'import "../../src/api.ts";',
    "client/src/service.ts": 'import "./store.js";',
    "client/src/store.ts": 'import "react";',
    "src/api.ts": 'import "./state/a.ts";',
    "src/format.ts": 'import "./ui/App.tsx";',
    "src/state/a.ts": 'import "../ui/App.tsx";',
    "src/state/b.ts": 'import "react";',
    "src/state/c.ts": 'import "../../client/src/service.ts";',
    "src/ui/App.tsx": 'import "../main.tsx";',
    "src/ui/B.tsx": 'import "../../client/src/service.ts";',
  };
  const expected = Object.keys(files).map((name) => `${name}: eslint(no-restricted-imports)`);
  expect(lint(files)).toEqual(expected.sort());
});

test("the rules of hooks are errors", () => {
  const component = (hooks: string, body: string): string =>
    `import { ${hooks} } from "react"; export function A({ n }: { n: number }) { ${body} return null; }`;
  const files = {
    "src/ui/Conditional.tsx": component("useId", "if (n > 0) useId();"),
    "src/ui/Dependency.tsx": component("useEffect", "useEffect(() => { console.log(n); }, []);"),
    "src/ui/Right.tsx": component("useEffect, useId", "const id = useId(); useEffect(() => { console.log(n, id); }, [n, id]);"),
  };
  expect(lint(files)).toEqual(["src/ui/Conditional.tsx: react-hooks(rules-of-hooks)", "src/ui/Dependency.tsx: react-hooks(exhaustive-deps)"]);
});
