import type { ReactNode } from "react";

function icon(children: ReactNode) {
  return function Icon() {
    return (
      <svg viewBox="0 0 24 24" className="icon" aria-hidden="true">
        {children}
      </svg>
    );
  };
}

export const Logo = icon(<path d="M3 16h4l3-9 4 13 3-8 1.5 4H21" />);
export const SoundOn = icon(<path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4.2 4.2 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11" />);
export const SoundOff = icon(<path d="M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5" />);
export const Bell = icon(<path d="M6 16.5V11a6 6 0 0 1 12 0v5.500l1.5 1.500h-15zM10 20.500a2.2 2.2 0 0 0 4 0M3 8a8.5 8.5 0 0 1 2.5-4.500M21 8a8.5 8.5 0 0 0-2.5-4.5" />);
export const BellOff = icon(<path d="M6 16.500V11a6 6 0 0 1 9.5-4.900M18 10.500v6l1.5 1.500H8M10 20.500a2.2 2.2 0 0 0 4 0M4 3.500l17 17" />);
export const Monitor = icon(<path d="M4 5h16v11H4zM9 20h6M12 16v4" />);
export const Sun = icon(<path d="M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 3v1.500M12 19.500V21M3 12h1.500M19.5 12H21M5.6 5.600l1.1 1.100M17.3 17.300l1.1 1.100M5.6 18.400l1.1-1.100M17.3 6.700l1.1-1.1" />);
export const Moon = icon(<path d="M20 14.500A8.5 8.5 0 0 1 9.5 4 8.5 8.5 0 1 0 20 14.500z" />);
export const Keyboard = icon(<path d="M3 6.500h18v11H3zM7 10h.01M10.5 10h.01M14 10h.01M17.5 10h.01M8 14h8" />);
export const SignOut = icon(<path d="M10 4H5v16h5M15 8l4 4-4 4M19 12H9" />);
export const Close = icon(<path d="M6 6l12 12M18 6L6 18" />);
export const Search = icon(<path d="M10.5 4.500a6 6 0 1 0 0 12 6 6 0 0 0 0-12zM15 15l5 5" />);
export const ArrowUp = icon(<path d="M12 19V5M6 11l6-6 6 6" />);
