// Prints the path of the npm package's Chromium and, on a second line, a directory with shared libraries for it, which a
// minimal system may lack.
import path from "node:path";
import { fileURLToPath } from "node:url";
import chromium from "@sparticuz/chromium";
import { inflate } from "./node_modules/@sparticuz/chromium/build/lambdafs.js";

const here = path.dirname(fileURLToPath(import.meta.url));
console.log(await chromium.executablePath());
console.log(path.join(await inflate(path.join(here, "node_modules/@sparticuz/chromium/bin/al2023.tar.br")), "lib"));
