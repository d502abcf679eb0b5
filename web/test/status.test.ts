import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { loadLanguage, translatorFor } from "../src/i18n.ts";
import { normalizedStatus, readableName, statusAppearance, statusLabel } from "../src/status.ts";

test.each([
  ["UNFULFILLED", "Unfulfilled"],
  ["sent_to_kitchen", "Sent to kitchen"],
  ["sentToKitchen", "Sent to kitchen"],
  ["SENT_TO_KITCHEN", "Sent to kitchen"],
  ["on-hold", "On hold"],
  ["ON HOLD", "On hold"],
  ["Ready for Pickup", "Ready for Pickup"],
  ["в пути", "В пути"],
  ["ОТМЕНЁН", "Отменён"],
  ["10", "10"],
  ["_", ""],
])("the name %s reads %s", (name, label) => {
  expect(readableName(name)).toBe(label);
});

test("a status has a translation if there is one, in any case of its letters, or else a readable name", async () => {
  await loadLanguage("ru");
  const labels = ["ready", "READY", "UNFULFILLED", "", "   "].map((status) => statusLabel(status, translatorFor("ru")));
  expect(labels).toEqual(["Готов", "Готов", "Unfulfilled", "Без статуса", "Без статуса"]);
});

test("a status is compared as events have it: at most 100 characters, and an empty text for none", () => {
  expect(normalizedStatus(null)).toBe("");
  expect(normalizedStatus("ready")).toBe("ready");
  expect(normalizedStatus("🛒".repeat(60))).toBe("🛒".repeat(60));
  expect(normalizedStatus("🛒".repeat(120))).toBe("🛒".repeat(100));
});

test("no text of a status becomes a class name", () => {
  for (const status of ["modal", "icon hidden", "badge"]) expect(statusAppearance(status, []).className).toBe("other-status");
  expect(statusAppearance("Pending", []).className).toBe("pending");
  expect(statusAppearance("", [])).toEqual({ className: "no-status" });
});

test("a status keeps its hue, and those that the map lists have hues far from each other", () => {
  expect(statusAppearance("UNFULFILLED", [])).toEqual(statusAppearance("UNFULFILLED", ["other"]));
  const listed = Array.from({ length: 12 }, (_, n) => `status ${n}`);
  const hues = listed.map((status) => statusAppearance(status, listed).hue!).sort((a, b) => a - b);
  const distances = hues.map((hue, n) => (hues[(n + 1) % hues.length]! - hue + 360) % 360);
  expect(Math.min(...distances)).toBeGreaterThan(15);
});

/** sRGB luminance (WCAG 2.2) of a colour in OKLCH, cut to what a screen can show. */
function luminance(l: number, c: number, hue: number): number {
  const [a, b] = [c * Math.cos((hue * Math.PI) / 180), c * Math.sin((hue * Math.PI) / 180)];
  const [x, y, z] = [l + 0.3963377774 * a + 0.2158037573 * b, l - 0.1055613458 * a - 0.0638541728 * b, l - 0.0894841775 * a - 1.291485548 * b].map(
    (value) => value ** 3,
  ) as [number, number, number];
  const linear = [
    4.0767416621 * x - 3.3077115913 * y + 0.2309699292 * z,
    -1.2684380046 * x + 2.6097574011 * y - 0.3413193965 * z,
    -0.0041960863 * x - 0.7034186147 * y + 1.707614701 * z,
  ].map((value) => Math.min(1, Math.max(0, value))) as [number, number, number];
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2];
}

function luminanceOfHex(hex: string): number {
  const [r, g, b] = [1, 3, 5].map((at) => {
    const value = Number.parseInt(hex.slice(at, at + 2), 16) / 255;
    return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  }) as [number, number, number];
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

test("every hue has a contrast of 4.5 to 1 at least, on its tint and on every surface, in light and in dark", () => {
  const style = (name: string): string => readFileSync(`${import.meta.dirname}/../src/styles/${name}`, "utf-8");
  const rule = style("page.css").match(/\.other-status \{(.*?)\}/s)![1]!;
  const colours = [...rule.matchAll(/oklch\(([\d.]+) ([\d.]+) var/g)].map((match) => [Number(match[1]), Number(match[2])] as const);
  expect(colours).toHaveLength(4); // of the text, light and dark, and of the tint
  for (const theme of [0, 1]) {
    const surfaces = ["canvas", "surface", "raised", "hover", "accent-tint"].map((name) =>
      luminanceOfHex(style("base.css").match(new RegExp(`--${name}: light-dark\\((#\\w+), (#\\w+)\\)`))![theme + 1]!),
    );
    for (let hue = 0; hue < 360; hue++) {
      const text = luminance(...colours[theme]!, hue);
      for (const background of [luminance(...colours[2 + theme]!, hue), ...surfaces]) {
        const [dark, light] = [text, background].sort((a, b) => a - b) as [number, number];
        expect((light + 0.05) / (dark + 0.05), `hue ${hue}`).toBeGreaterThan(4.5);
      }
    }
  }
});
