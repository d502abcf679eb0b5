"use strict";
// For require(): the ES module itself, so that a program that also imports it has one instance.
try {
  module.exports = require("../orderwire.js");
} catch (error) {
  if (error.code !== "ERR_REQUIRE_ESM") throw error;
  throw new Error("@orderwire/client is an ES module: require() takes it from Node 20.19 and 22.12 on, import() before that", { cause: error });
}
