import { defineConfig } from "vitest/config";
import { alias } from "./alias.ts";

export default defineConfig({
  // The examples have no packages of their own.
  resolve: { alias, dedupe: ["react"] },
  test: {
    environment: "happy-dom",
    include: ["client/test/**/*.test.{ts,tsx}", "test/**/*.test.{ts,tsx}"],
    maxWorkers: 2,
    // A loaded machine is slow, and a test that fails waits for it once.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
