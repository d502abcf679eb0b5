import type { FileSink } from "../state/csv-download.ts";

type SavePicker = (options: object) => Promise<{ createWritable(): Promise<FileSink> }>;

/**
 * Asks for a file where the browser lets a page write to one; elsewhere the bytes are kept in memory and offered as a download at the end.
 * Must be called from a click handler. Rejects with an AbortError if the user chooses no file.
 */
export async function openFileSink(suggestedName: () => string): Promise<FileSink> {
  const { showSaveFilePicker } = window as { showSaveFilePicker?: SavePicker };
  if (showSaveFilePicker !== undefined) {
    const types = [{ accept: { "text/csv": [".csv"] } }];
    try {
      return await (await showSaveFilePicker({ suggestedName: suggestedName(), types })).createWritable();
    } catch (error) {
      if ((error as DOMException).name === "AbortError") throw error;
      // Not allowed here, such as in a frame.
    }
  }
  const parts: BlobPart[] = [];
  return {
    async write(bytes) {
      parts.push(bytes);
    },
    async close() {
      offer(new Blob(parts, { type: "text/csv" }), suggestedName());
    },
    async abort() {
      parts.length = 0;
    },
  };
}

function offer(blob: Blob, name: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}
