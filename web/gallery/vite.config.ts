import { fileURLToPath } from "node:url";
import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";
import { alias } from "../alias.ts";

const here = (name: string): string => fileURLToPath(new URL(name, import.meta.url));

// The components page, which the server does not have: for development (`npm run gallery`), tests and screenshots.
export default defineConfig({
  root: here("."),
  base: "./",
  plugins: [react()],
  resolve: { alias },
  server: { fs: { allow: [here("..")] } },
  build: { target: "es2022", modulePreload: { polyfill: false }, emptyOutDir: true },
});
