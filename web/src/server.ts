/** Where the page's server is. The page is at `<prefix>/admin/dashboard`; the prefix is that of a proxy or of an application. */

/** The prefix with a slash at its end; "/" at the root of the host. */
export function serverPrefix(): string {
  return new URL("../", location.href).pathname;
}

/** The path of the server's `/api/…` as the browser has to request it. */
export function serverPath(path: `/api/${string}`): string {
  return serverPrefix() + path.slice(1);
}
