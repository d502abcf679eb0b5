import { screen } from "@testing-library/react";
import { expect, test } from "vitest";
import { translatorFor } from "../../src/i18n.ts";
import type { Notice, Outcome } from "../../src/state/status-change.ts";
import { noticeText, StatusNotices } from "../../src/ui/StatusNotices.tsx";
import { renderFixed } from "./render-fixed.tsx";

const t = translatorFor("en");
const CHANGED: Outcome = { kind: "changed", id: "e-1-1" };

function notice(outcomes: Outcome[], fields: Partial<Notice> = {}): Notice {
  return { key: 1, to: "ready", isUndo: false, numbers: outcomes.map((_, index) => `N${index + 1}`), already: 0, unknown: 0, outcomes, canUndo: false, ...fields };
}

test.each<[string, Notice, string]>([
  ["changed", notice([CHANGED]), "#N1: Ready"],
  ["undone", notice([CHANGED], { isUndo: true }), "Undone. #N1: Ready"],
  ["faster, by a user", notice([{ kind: "faster", status: "cancelled", actor: { role: "serving", application_name: "dashboard: Bo" } }]), "Bo was faster. #N1 is now: Cancelled"],
  ["faster, nothing known of whom", notice([{ kind: "faster", status: "cancelled", actor: null }]), "Another change was faster. #N1 is now: Cancelled"],
  ["undo overtaken, by a user", notice([{ kind: "faster", status: "cancelled", actor: { role: "serving", application_name: "dashboard: Bo" } }], { isUndo: true }), "Not undone: Bo has changed #N1 since. It is now: Cancelled"],
  ["undo overtaken, nothing known of whom", notice([{ kind: "faster", status: "cancelled", actor: null }], { isUndo: true }), "Not undone: #N1 has been changed again since. It is now: Cancelled"],
  ["not known yet", notice([], { numbers: ["N1"], unknown: 1 }), "the outcome is unknown"],
  ["not carried out", notice([{ kind: "unchanged" }]), "was not changed"],
  ["several", notice([CHANGED, CHANGED, { kind: "gone" }], { numbers: ["N1", "N2", "N3", "N4"] }), "→ Ready: 2 changed"],
  ["several refused", notice([{ kind: "refused", reason: null, message: "too late" }, CHANGED]), "(too late)"],
])("says in words how it ended: %s", (_, given, text) => {
  expect(noticeText(given, t)).toContain(text);
});

test("of several, those that were overtaken are told from those where another change was faster", () => {
  const outcomes: Outcome[] = [CHANGED, { kind: "faster", status: "cancelled", actor: null }];
  const [change, undo] = [false, true].map((isUndo) => noticeText(notice(outcomes, { isUndo }), t));
  expect([change, undo]).toEqual([expect.stringContaining(t("nFaster", { count: 1 })), expect.stringContaining(t("nOvertaken", { count: 1 }))]);
  expect(undo).not.toContain(t("nFaster", { count: 1 }));
});

test("what is still to come, and none of a kind, is counted or left out", () => {
  const text = noticeText(notice([{ kind: "gone" }], { numbers: ["N1", "N2", "N3"] }), t);
  expect(text).toMatch(/0 changed/);
  expect(text).toContain("2");
  expect(text).not.toContain("faster");
});

test("a single order that is being changed is shown at the order, not here", () => {
  renderFixed(<StatusNotices />, { changes: { changes: new Map(), notices: [notice([], { numbers: ["N1"] })] } });
  expect(screen.queryByText(/N1/)).toBeNull();
});

test("only what can be undone has a button for it, and only what is over can be dismissed", () => {
  const notices = [notice([CHANGED], { canUndo: true }), notice([CHANGED], { key: 2, numbers: ["N1", "N2"] })];
  renderFixed(<StatusNotices />, { changes: { changes: new Map(), notices } });
  expect(screen.getAllByRole("button").map((button) => button.getAttribute("aria-label") ?? button.textContent)).toEqual(["Undo U", "Dismiss"]);
});
