import { expect, test } from "vitest";
import { saveBody } from "../src/state/csv-download.ts";

function sink() {
  const parts: string[] = [];
  let end = "open";
  return {
    parts,
    end: () => end,
    write: async (bytes: Uint8Array) => void parts.push(new TextDecoder().decode(bytes)),
    close: async () => void (end = "closed"),
    abort: async () => void (end = "aborted"),
  };
}

function response(chunks: string[], error?: Error): Response {
  const body = new ReadableStream<Uint8Array>({
    pull(controller) {
      const chunk = chunks.shift();
      if (chunk !== undefined) controller.enqueue(new TextEncoder().encode(chunk));
      else if (error) controller.error(error);
      else controller.close();
    },
  });
  return { body, headers: new Headers() } as Response;
}

test("writes what comes, as it comes, and closes the file at the end", async () => {
  const file = sink();
  const sizes: number[] = [];
  await saveBody(async () => response(["key\n", "1\n"]), file, (bytes) => sizes.push(bytes));
  expect([file.parts, file.end(), sizes]).toEqual([["key\n", "1\n"], "closed", [4, 6]]);
});

test("does not leave a part of the file as if it was the whole", async () => {
  const file = sink();
  await expect(saveBody(async () => response(["key\n"], new TypeError("network")), file, () => {})).rejects.toThrow("network");
  expect(file.end()).toBe("aborted");
});

test("leaves no file when the server refuses", async () => {
  const file = sink();
  await expect(saveBody(() => Promise.reject(new Error("429")), file, () => {})).rejects.toThrow("429");
  expect(file.end()).toBe("aborted");
});
