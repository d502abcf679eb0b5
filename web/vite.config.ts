import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { brotliCompressSync, gzipSync } from "node:zlib";
import react from "@vitejs/plugin-react";
import { defineConfig, type Plugin } from "vite";
import { alias } from "./alias.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

/** Writes a gzip and a brotli file beside each asset. The server sends them by `Accept-Encoding`, and does not compress at run time. */
function precompress(): Plugin {
  return {
    name: "precompress",
    apply: "build",
    writeBundle({ dir }) {
      const assets = join(dir as string, "assets");
      for (const name of readdirSync(assets)) {
        const bytes = readFileSync(join(assets, name));
        writeFileSync(join(assets, `${name}.gz`), gzipSync(bytes, { level: 9 }));
        writeFileSync(join(assets, `${name}.br`), brotliCompressSync(bytes));
      }
    },
  };
}

export default defineConfig({
  // Relative: the page may be served below a prefix.
  base: "./",
  resolve: { alias },
  plugins: [react(), precompress()],
  build: {
    target: "es2022",
    cssTarget: ["chrome123", "firefox120", "safari17.5"],
    // The Content-Security-Policy of the page forbids data: URLs.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    rolldownOptions: {
      input: { index: here("index.html"), docs: here("docs.html"), worker: here("src/worker/worker.ts") },
      // The address of a service worker is its identity, so its name has no hash.
      output: { entryFileNames: ({ name }) => (name === "worker" ? "worker.js" : "assets/[name]-[hash].js") },
    },
  },
});
