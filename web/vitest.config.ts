import { defineConfig } from "vitest/config";
import { alias } from "./alias.ts";

export default defineConfig({
  // The examples have no node_modules directory.
  resolve: { alias, dedupe: ["react", "svelte", "vue"] },
  test: {
    environment: "happy-dom",
    include: ["client/test/**/*.test.{ts,tsx}", "test/**/*.test.{ts,tsx}"],
    maxWorkers: 2,
    // Generous for a loaded machine; only a failing test waits that long.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
