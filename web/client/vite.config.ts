import { fileURLToPath } from "node:url";
import { defineConfig } from "vite";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** The package as it is published, and as the server hands it out: `orderwire.js` stands alone. */
export default defineConfig({
  root: here("."),
  build: {
    lib: { entry: { orderwire: here("src/index.ts"), react: here("src/react.ts") }, formats: ["es"] },
    rolldownOptions: { external: ["react"], output: { minify: true } },
    outDir: here("dist"),
    target: "es2022",
    emptyOutDir: true,
  },
});
