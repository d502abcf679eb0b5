import type { Actor } from "@orderwire/client";

/** The application_name of a change that was made on a dashboard; ": " and the user's name follow, if the user has one. */
const DASHBOARD = "dashboard";

/** Who made a change: the user of a dashboard, or the database role with the name of its program. */
export function actorName({ role, application_name: program }: Actor): string {
  if (program === DASHBOARD) return program;
  if (program.startsWith(`${DASHBOARD}: `)) return decoded(program.slice(DASHBOARD.length + 2));
  return program === "" ? role : `${role} (${program})`;
}

/** The name of a user has letters beyond ASCII percent-encoded. */
function decoded(name: string): string {
  try {
    return decodeURIComponent(name);
  } catch {
    return name; // it has a percent sign, or was cut
  }
}
