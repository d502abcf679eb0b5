import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/**
 * Builds the package as published, and as served under `/client/`: `orderwire.js` has no imports, `store.js` imports it, and `react.js`
 * both. What is in public/ is copied: `dist/cjs/`, for `require()`.
 */
export default defineConfig({
  root: here("."),
  build: {
    lib: {
      entry: { orderwire: here("src/orderwire.ts"), store: here("src/store.ts"), react: here("src/react.ts") },
      formats: ["es"],
    },
    rolldownOptions: {
      external: ["react", "./orderwire.js", "./store.js"],
      output: {
        minify: true,
        comments: false,
        banner: ({ name }) => (name === "react" ? '"use client";' : ""),
      },
    },
    outDir: here("dist"),
    target: "es2022",
    sourcemap: true,
    emptyOutDir: true,
    reportCompressedSize: false,
  },
});
