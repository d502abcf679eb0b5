/** Where the page's server is. The page is at `<prefix>/admin/dashboard…`; the prefix is that of a proxy or of an application. */

const PAGE = "/admin/dashboard";

/** The prefix with a slash at its end; "/" at the root of the host. */
export function serverPrefix(): string {
  const { pathname } = location;
  const at = pathname.lastIndexOf(PAGE);
  return `${at < 0 ? "" : pathname.slice(0, at)}/`;
}

/** The path of the server's `/api/…` as the browser has to request it. */
export function serverPath(path: `/api/${string}`): string {
  return serverPrefix() + path.slice(1);
}

/** The path of the page itself, without a view. */
export function pagePath(): string {
  return serverPrefix() + PAGE.slice(1);
}
