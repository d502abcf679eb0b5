import { fileURLToPath } from "node:url";

const source = (name: string): string => fileURLToPath(new URL(`client/src/${name}`, import.meta.url));

/** Resolves the published names of the client package to its sources. */
export const alias = [
  { find: /^@orderwire\/client$/, replacement: source("orderwire.ts") },
  { find: /^@orderwire\/client\/store$/, replacement: source("store.ts") },
  { find: /^@orderwire\/client\/react$/, replacement: source("react.ts") },
];
