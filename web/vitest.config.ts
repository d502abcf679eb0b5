import { defineConfig } from "vitest/config";
import { alias } from "./alias.ts";

export default defineConfig({
  resolve: { alias },
  test: {
    environment: "happy-dom",
    include: ["client/test/**/*.test.{ts,tsx}", "test/**/*.test.{ts,tsx}"],
    maxWorkers: 2,
  },
});
