import { expect, test, vi } from "vitest";
import type { Parameter } from "../src/docs/documents.ts";

vi.stubGlobal("location", new URL("https://shop.example/push/api/docs"));
const { requestUrl } = await import("../src/docs/requests.ts");
const { typeText } = await import("../src/docs/documents.ts");

const parameter = (name: string, where: Parameter["in"]): Parameter => ({ name, in: where, required: false, description: "", example: "" });

test("a request goes to the server below its prefix, with the parameters that are filled in", () => {
  const values = [
    { parameter: parameter("key", "path"), value: "a/b ł" },
    { parameter: parameter("limit", "query"), value: "5" },
    { parameter: parameter("after", "query"), value: "" },
    { parameter: parameter("Last-Event-ID", "header"), value: "x" },
  ];
  expect(requestUrl("/api/orders/{key}/events", values).href).toBe("https://shop.example/push/api/orders/a%2Fb%20%C5%82/events?limit=5");
});

test.each([
  [{ $ref: "#/components/schemas/Order" }, "Order"],
  [{ type: "string", const: "ping" }, '"ping"'],
  [{ enum: ["1h", "24h"] }, '"1h" | "24h"'],
  [{ type: ["string", "null"] }, "string | null"],
  [{ type: "array", items: { type: "string" } }, "string[]"],
  [{ oneOf: [{ $ref: "#/components/schemas/Order" }, { type: "null" }] }, "Order | null"],
])("the type %j", (schema, text) => {
  expect(typeText(schema)).toBe(text);
});
