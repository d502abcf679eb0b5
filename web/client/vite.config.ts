import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The package as it is published, and as the server hands it out: `orderwire.js` stands alone, `react.js` imports it. */
export default defineConfig({
  root: here("."),
  build: {
    lib: { entry: { orderwire: here("src/orderwire.ts"), react: here("src/react.ts") }, formats: ["es"] },
    rolldownOptions: {
      external: ["react", "./orderwire.js"],
      output: {
        minify: true,
        banner: ({ name }) => (name === "react" ? '"use client";' : ""),
      },
    },
    outDir: here("dist"),
    target: "es2022",
    emptyOutDir: true,
    reportCompressedSize: false,
  },
});
