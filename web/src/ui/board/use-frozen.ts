import { useLayoutEffect, useState } from "react";

/** The value, or while `isFrozen` what it was when that began. */
export function useFrozen<T>(value: T, isFrozen: boolean): T {
  const [frozen, setFrozen] = useState<{ value: T } | null>(null);
  useLayoutEffect(() => {
    setFrozen(isFrozen ? { value } : null);
    // oxlint-disable-next-line react/exhaustive-deps -- the value of the moment at which it freezes
  }, [isFrozen]);
  return frozen === null ? value : frozen.value;
}
