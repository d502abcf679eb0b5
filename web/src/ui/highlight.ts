/**
 * Lights up an element for so many milliseconds, unless the user wants no motion. Only the opacity is animated: the compositor does that
 * by itself, while every frame of any other animation is drawn by the main thread.
 */
export function highlight(element: HTMLElement | null, duration: number): Animation | undefined {
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) return undefined;
  return element?.animate([{ opacity: 0.4 }, { opacity: 1 }], { duration, easing: "ease-out" });
}
