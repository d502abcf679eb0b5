import { fileURLToPath } from "node:url";

const source = (name: string): string => fileURLToPath(new URL(`client/src/${name}`, import.meta.url));

/** The client package by its published names, from its sources. */
export const alias = [
  { find: /^@orderwire\/client$/, replacement: source("orderwire.ts") },
  { find: /^@orderwire\/client\/react$/, replacement: source("react.ts") },
];
