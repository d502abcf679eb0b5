import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Builds the package as published, and as served under `/client/`: `orderwire.js` has no imports, `react.js` imports it. */
export default defineConfig({
  root: here("."),
  build: {
    lib: { entry: { orderwire: here("src/orderwire.ts"), react: here("src/react.ts") }, formats: ["es"] },
    rolldownOptions: {
      external: ["react", "./orderwire.js"],
      output: {
        minify: true,
        comments: false,
        banner: ({ name }) => (name === "react" ? '"use client";' : ""),
      },
    },
    outDir: here("dist"),
    target: "es2022",
    emptyOutDir: true,
    reportCompressedSize: false,
  },
});
