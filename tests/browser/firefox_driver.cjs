// Loaded into Playwright's driver before its own code. Playwright sends this command of WebDriver BiDi for every context, to set the
// colour scheme; no released Firefox knows it, and no test in Firefox needs it.
const { Module } = require("node:module");

const COMMAND = /await this\._(?:browser\._browserSession|session)\.send\("emulation\.setMediaFeaturesOverride", /g;
const compile = Module.prototype._compile;
Module.prototype._compile = function (code, filename, ...rest) {
  const source = filename.endsWith("coreBundle.js") ? code.replace(COMMAND, "void (") : code;
  return compile.call(this, source, filename, ...rest);
};
