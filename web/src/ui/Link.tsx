import type { ComponentProps, MouseEvent } from "react";
import { navigate } from "../route.ts";

/** A link to another address of the page, which opens without loading the page anew. With a modifier key the browser opens it. */
export function Link({ href, ...rest }: { href: string } & ComponentProps<"a">) {
  const onClick = (event: MouseEvent<HTMLAnchorElement>) => {
    if (event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    navigate(href);
  };
  return <a href={href} onClick={onClick} {...rest} />;
}
