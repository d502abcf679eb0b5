// Loaded before Playwright, for what it does not do right in a released Firefox.
const { Module } = require("node:module");

const CHANGES = [
  // Playwright sends this command of WebDriver BiDi for every context, to set the colour scheme; no released Firefox knows it, and no
  // test in Firefox needs it.
  [/await this\._(?:browser\._browserSession|session)\.send\("emulation\.setMediaFeaturesOverride", /g, "void ("],
  // How `fill` sets the value of a field: through React's own property of that field, so React would take it for the value before.
  [/inputElement\.value = value;/g, 'Object.getOwnPropertyDescriptor(Object.getPrototypeOf(inputElement), "value").set.call(inputElement, value);'],
];
const compile = Module.prototype._compile;
Module.prototype._compile = function (code, filename, ...rest) {
  const source = filename.endsWith("coreBundle.js") ? CHANGES.reduce((text, [from, to]) => text.replace(from, to), code) : code;
  return compile.call(this, source, filename, ...rest);
};
