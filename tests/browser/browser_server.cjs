// Starts a browser for all tests of one process, prints the address to which Playwright connects, and ends with its standard input.
// Arguments: the directory of the package playwright-core, "chromium" or "firefox", and the options of launchServer as JSON.
const [directory, name, options] = process.argv.slice(2);
const playwright = require(directory);

playwright[name].launchServer(JSON.parse(options)).then(
  (server) => {
    process.stdin.resume().on("end", () => void server.close().finally(() => process.exit()));
    console.log(server.wsEndpoint());
  },
  (error) => {
    console.error(error.message);
    process.exit(1);
  },
);
